"""How frames make one probability, and when that is part of a model's identity."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import saferank.models
from saferank.errors import ConfigurationError
from saferank.models.description import identity, load_description, locate
from saferank.models.frames import combined, of_pictures

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)
RULES = st.sampled_from(
    ["highest", "mean-of-top-1", "mean-of-top-3", "mean-of-top-99", "share-above-0.5"]
)
BUILT_IN = Path(saferank.models.__file__).parent / "open_nsfw.toml"


@pytest.mark.parametrize(
    ("rule", "frames", "expected"),
    [
        ("highest", [0.1, 0.75, 0.5], 0.75),
        ("mean-of-top-2", [0.1, 0.75, 0.5], 0.625),
        ("mean-of-top-9", [0.25, 0.75], 0.5),
        ("share-above-0.5", [0.1, 0.75, 0.5, 0.49], 0.5),
        ("share-above-0.5", [0.1, 0.2], 0.0),
        # A single picture is no share of anything.
        ("share-above-0.5", [0.3], 0.3),
        ("mean-of-top-3", [0.3], 0.3),
    ],
)
def test_a_rule_makes_one_probability_of_frames(
    rule: str, frames: list[float], expected: float
) -> None:
    assert combined(rule, frames) == expected


@given(RULES, VALUES)
def test_a_mean_lies_among_its_frames_and_all_rules_are_probabilities(
    rule: str, frames: list[float]
) -> None:
    value = combined(rule, frames)
    assert 0 <= value <= 1
    if rule.startswith("mean"):
        assert min(frames) - 1e-12 <= value <= max(frames) + 1e-12


@given(RULES, VALUES, st.data())
def test_a_brighter_frame_never_lowers_the_probability(
    rule: str, frames: list[float], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(frames) - 1))
    more = [*frames]
    more[place] = data.draw(st.floats(frames[place], 1))
    assert combined(rule, more) >= combined(rule, frames) - 1e-12


def test_parts_count_for_their_frame_and_other_viewers_pictures_for_themselves() -> None:
    rule = "mean-of-top-2"
    # Two frames, of which the first has a part, and what others show in their place.
    assert of_pictures(rule, [0.25, 0.5, 0.75], [0, 1, 0], 2) == 0.625
    assert of_pictures(rule, [0.25, 0.5, 0.75, 0.9], [0, 1, 0, 2], 2) == 0.9
    assert of_pictures("highest", [0.25, 0.5, 0.75], [0, 1, 0], 2) == 0.75


def identity_with(folder: Path, line: str) -> str:
    shutil.copy(BUILT_IN, folder / "model.toml")
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(f"{line}\n{text}")
    description, place = load_description(folder / "model.toml")
    return identity(description, locate(description, place))


def test_the_rule_is_part_of_the_identity_where_it_is_another(tmp_path: Path) -> None:
    plain = identity_with(tmp_path, "")
    assert identity_with(tmp_path, 'frames = "highest"') == plain
    rules = ["mean-of-top-3", "mean-of-top-4", "share-above-0.5"]
    others = {identity_with(tmp_path, f'frames = "{rule}"') for rule in rules}
    assert len(others | {plain}) == 4


@pytest.mark.parametrize(
    "rule", ["mean", "mean-of-top-0", "share-above-1.5", "share-above-0.", "lowest", "highest "]
)
def test_rules_that_there_are_not(rule: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="frames"):
        identity_with(tmp_path, f'frames = "{rule}"')


def test_a_first_pass_sees_the_highest_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="first pass"):
        identity_with(tmp_path, 'frames = "mean-of-top-2"\nfast = {margin = 0.05}')
