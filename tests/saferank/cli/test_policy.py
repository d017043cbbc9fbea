from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from saferank.cli import app
from saferank.errors import ContextError, PolicyError

POLICY = """\
version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict: {hide_from: 0.2, unscored: hide}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {level: moderate}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["policy", *map(str, arguments)])


def test_a_right_policy_is_confirmed(policy: Path) -> None:
    result = run("check", policy)
    assert result.exit_code == 0
    assert "3 levels, 2 context rules" in result.output


def test_a_level_that_hides_all_that_was_scored_is_named(policy: Path) -> None:
    assert "hides every document" not in run("check", policy).output
    policy.write_text(POLICY.replace("{hide_from: 0.2,", "{hide_from: 0,"))
    result = run("check", policy)
    assert result.exit_code == 0
    assert "level 'strict' hides every document that has a probability" in result.output


def test_requests_are_tried_at_every_level(policy: Path, tmp_path: Path) -> None:
    fine, refused, broken = (tmp_path / f"{name}.json" for name in ("fine", "refused", "broken"))
    fine.write_text('{"query": {"match_all": {}}, "sort": ["price"]}')
    refused.write_text('{"sort": ["price", "_score"], "collapse": {"field": "shop"}}')
    result = run("check", policy, "--request", fine)
    assert (result.exit_code, "fine.json: every level takes it" in result.output) == (0, True)
    result = run("check", policy, "--request", refused, "--request", fine)
    assert result.exit_code == 1
    assert "refused.json: at level 'moderate': request part 'sort' was refused" in result.output
    assert "'off'" not in result.output
    assert "'strict'" not in result.output
    assert "fine.json: every level takes it" in result.output
    for text in ("{", "[]", None):
        if text is not None:
            broken.write_text(text)
        path = broken if text is not None else tmp_path / "none.json"
        assert run("check", policy, "--request", path).exit_code == 2


def test_the_first_fault_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("hide_from: 0.2", "hide_from: 0.9"))
    result = run("check", path)
    assert isinstance(result.exception, PolicyError)
    assert str(result.exception).startswith(f"{path}:5: levels.strict.hide_from: ")


def test_show_has_every_level_and_rule(policy: Path) -> None:
    output = run("show", policy).output
    for text in ("moderate", "0.8", "audience = child", "ignored", "exponential"):
        assert text in output


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "overrides: in the documents; decisions about copies count, too"),
        (
            "overrides: decided\nmatched: false\n",
            "overrides: in index decided; decisions about copies do not count",
        ),
    ],
)
def test_show_says_where_decisions_are(tmp_path: Path, keys: str, said: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\n{keys}levels: {{off: {{}}}}\ncontexts: [{{level: off}}]\n")
    assert said in run("show", path).output


def test_show_has_every_category_of_every_level(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 2\n"
        "categories: {nudity: {field: safety}, violence: {field: other}}\n"
        "levels:\n"
        "  moderate: {nudity: {blur_from: 0.1, unscored: show}}\n"
        "  strict:\n"
        "    nudity: {hide_from: 0.1, unscored: show}\n"
        "    violence: {hide_from: 0.3, unscored: hide}\n"
        "contexts: [{level: moderate}]\n"
    )
    lines = run("show", path).output.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:6]] for line in lines if "│" in line]
    assert rows[:4] == [
        ["moderate", "nudity", "0.1", "-", "-"],
        ["moderate", "violence", "-", "-", "-"],
        ["strict", "nudity", "-", "-", "0.1"],
        ["strict", "violence", "-", "-", "0.3"],
    ]


def test_explain_names_rule_level_and_clauses(policy: Path) -> None:
    result = run("explain", policy, "--context", "audience=child", "--context", "requested=off")
    assert "Entry 1 under contexts decides" in result.output
    assert "The user asked for 'off', which is ignored" in result.output
    assert '"safety.probability": {"gte": 0.2' in result.output
    clauses = json.loads(run("explain", policy, "--json", "--context", "requested=off").output)
    blocked, other_decision, _ = clauses["hidden"]
    assert blocked == {"term": {"safety.override": "block"}}
    assert other_decision["bool"]["filter"] == [{"exists": {"field": "safety.override"}}]
    assert clauses["demoted"] == clauses["blurred"] == []


def test_explain_refuses_what_the_policy_does_not_know(policy: Path) -> None:
    assert isinstance(run("explain", policy, "--context", "age=7").exception, ContextError)
    assert run("explain", policy, "--context", "age").exit_code == 2


def test_diff_tells_what_changes_and_by_its_exit_code_whether(policy: Path, tmp_path: Path) -> None:
    assert run("diff", policy, policy).exit_code == 0
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.replace("0.8", "0.7").replace("{level: moderate}", "{level: strict}"))
    result = run("diff", policy, other)
    assert result.exit_code == 1
    for text in ("hide_from", "0.8", "0.7", "moderate", "strict"):
        assert text in result.output


def test_the_schema_is_json_and_knows_the_levels() -> None:
    schema = json.loads(run("schema").output)
    of_version_1, of_version_2 = _kinds(schema)
    assert of_version_1["properties"].keys() - of_version_2["properties"].keys() == {
        "field",
        "model",
        "override_field",
    }
    assert all("levels" in one["required"] for one in (of_version_1, of_version_2))


def _kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema["$defs"][one["$ref"].rpartition("/")[2]] for one in schema["oneOf"]]
