"""The command lines of ``saferank reindex`` and ``saferank backfill`` that are refused."""

import pytest
from typer.testing import CliRunner

from saferank.cli import app as command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--into'"),
        (["--rollback"], "No such option: --rollback"),
        (["--into", "new", "--only", "all"], "No such option: --only"),
    ],
)
def test_refused_options(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, ["reindex", "products", *arguments])
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize("option", ["--into", "--rollback", "--alias", "--longest-block"])
def test_a_backfill_does_not_replace_an_index(option: str) -> None:
    result = CliRunner().invoke(command, ["backfill", "products", option])
    assert result.exit_code == 2
    assert f"No such option: {option}" in result.output
