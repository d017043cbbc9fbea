"""What commands print: a table for people, JSON for programs."""

import json

import pytest

from saferank.cli.output import print_rows

HEADERS = ("id", "pictures", "reason")
ROWS = [("[bold]a[/bold]", 1_234, None), ("b" * 300, 0, "painting")]


def test_rows_are_objects_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(HEADERS, ROWS, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"id": "[bold]a[/bold]", "pictures": 1_234, "reason": None}
    assert second == {"id": "b" * 300, "pictures": 0, "reason": "painting"}


def test_in_a_pipe_a_row_is_one_line_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_rows(HEADERS, ROWS, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert sum("[bold]a[/bold]" in line and "1,234" in line for line in lines) == 1
    assert sum("b" * 300 in line and "painting" in line for line in lines) == 1
    assert "None" not in "".join(lines)
