"""What 'saferank health' says of the policy, which needs no service."""

from pathlib import Path

import pytest

from saferank.cli.health import _unfit
from saferank.settings import Settings

POLICY = "version: 1\n{}levels: {{off: {{}}}}\ncontexts: [{{level: off}}]\n"


@pytest.mark.parametrize(
    ("in_policy", "in_settings", "fault"),
    [
        (None, None, None),
        ("kept", "kept", None),
        (None, "kept", "keeps overrides in None and the settings in 'kept'"),
        ("kept", None, "keeps overrides in 'kept' and the settings in None"),
    ],
)
def test_searches_must_look_where_decisions_are_written(
    in_policy: str | None, in_settings: str | None, fault: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format("" if in_policy is None else f"overrides: {in_policy}\n"))
    found = _unfit(Settings(policy=path, overrides=in_settings))
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_a_policy_that_is_on_another_machine_is_no_fault(tmp_path: Path) -> None:
    assert _unfit(Settings(policy=tmp_path / "none.yaml", overrides="kept")) is None
