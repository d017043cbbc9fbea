"""Who may review, from a file."""

import stat
from pathlib import Path

import pytest

from saferank.errors import ConfigurationError
from saferank.review.people import People, Role, add_person, read_people


def test_a_token_is_found_and_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "reviewers.toml"
    token = add_person(file, "ann", Role.DECIDE)
    assert add_person(file, "ben@example", Role.VIEW, with_token=False) is None
    assert token is not None
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    people = People(file)
    found = people.by_token(token)
    assert found is not None
    assert (found.name, found.role) == ("ann", Role.DECIDE)
    assert people.by_token(token[:-1]) is None
    assert people.by_token("") is None
    ben = people.by_name("ben@example")
    assert ben is not None
    assert ben.digest is None


def test_roles_include_those_before_them_but_reports_stand_apart() -> None:
    assert Role.UNDO_OTHERS.may(Role.DECIDE)
    assert Role.DECIDE.may(Role.VIEW)
    assert not Role.VIEW.may(Role.DECIDE)
    assert not Role.DECIDE.may(Role.UNDO_OTHERS)
    assert Role.REPORT.may(Role.REPORT)
    assert not Role.REPORT.may(Role.VIEW)
    assert not Role.UNDO_OTHERS.may(Role.REPORT)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "cannot be read"),
        ("ann = 1", "must be a table"),
        ('[ann]\nrole = "decide"\ntoken = "secret"', "must be a table"),
        ('[ann]\nrole = "admin"', "role of 'ann' is one of report, view"),
        ('[ann]\nrole = "view"\ntoken_sha256 = "abc"', "is not a SHA-256"),
        ('["a<b>"]\nrole = "view"', "name of letters"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "reviewers.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=problem):
        read_people(file)


def test_nobody_is_added_twice_or_under_a_strange_name(tmp_path: Path) -> None:
    file = tmp_path / "reviewers.toml"
    add_person(file, "ann", Role.DECIDE)
    with pytest.raises(ConfigurationError, match="has 'ann' already"):
        add_person(file, "ann", Role.VIEW)
    with pytest.raises(ConfigurationError, match="cannot be a name"):
        add_person(file, 'x"]\nrole', Role.VIEW)
    with pytest.raises(ConfigurationError, match="saferank reviewers add"):
        People(tmp_path / "none.toml").by_name("ann")
