"""A policy's thresholds must lie where the model is exact."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import PolicyError
from saferank.ranker import load_policy
from saferank.settings import get_settings

TEXT = """
version: 1
levels:
  mild: {{demote_from: {demote}, hide_from: 0.8, unscored: show}}
  strict: {{hide_from: {hide}, unscored: hide}}
contexts: [{{level: mild}}]
"""
FAST = "open_nsfw/74b7c0374425/resize-jpeg-crop/viewed-3/6632024008c9/fast-0.2-98b0f2481e39"


def run(arguments: list[str]) -> int:
    result = CliRunner().invoke(app, arguments)
    if result.exit_code:
        assert isinstance(result.exception, PolicyError)
        assert "below which probabilities are not exact" in str(result.exception)
    return result.exit_code


@pytest.fixture(autouse=True)
def _settings_read_anew() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def policy(folder: Path, demote: float, hide: float, model: str = "") -> Path:
    path = folder / "policy.yaml"
    path.write_text(TEXT.format(demote=demote, hide=hide) + (model and f"model: {model}\n"))
    return path


def test_a_threshold_that_equals_the_margin_is_within_it(tmp_path: Path) -> None:
    loaded = load_policy(policy(tmp_path, 0.2, 0.2))
    assert loaded.thresholds_within(0.19) == []
    mild, strict = loaded.thresholds_within(0.2)
    assert mild.startswith("level 'mild' has demote_from 0.2, which is not above the margin 0.2 of")
    assert strict.startswith("level 'strict' has hide_from 0.2, which")


@pytest.mark.parametrize(
    ("model", "demote", "code"),
    [
        ("open_nsfw", 0.05, 0),
        ("open_nsfw_fast", 0.05, 1),
        ("open_nsfw_fast", 0.06, 0),
        ("/nowhere/model.toml", 0.05, 0),
    ],
)
def test_policy_check_looks_at_the_model_that_is_set(
    model: str, demote: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFERANK_MODEL", model)
    path = policy(tmp_path, demote, 0.5)
    assert run(["policy", "check", str(path)]) == code


def test_policy_check_looks_at_the_model_that_the_policy_names(tmp_path: Path) -> None:
    assert run(["policy", "check", str(policy(tmp_path, 0.2, 0.5, FAST))]) == 1
    assert run(["policy", "check", str(policy(tmp_path, 0.21, 0.5, FAST))]) == 0
