"""Who may do what: a file of reviewers, and what a request shows of who sends it.

The file is TOML, one table a person or application::

    ["ann"]
    role = "decide"
    token_sha256 = "…"    # of the token that `saferank reviewers add` printed once

Without a token a person comes in only through your own single sign-on. The file is read again when
it changes, so who is taken out of it is out at once.
"""

from __future__ import annotations

import re
import secrets
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from saferank.access import append_table, digest_of, quoted
from saferank.errors import ConfigurationError

_NAME = re.compile(r"[\w.@+ -]{1,100}")


class Role(StrEnum):
    """What somebody may do; each of the last three may do what the one before it may."""

    REPORT = "report"
    """Report documents, and nothing else: for applications."""
    VIEW = "view"
    DECIDE = "decide"
    UNDO_OTHERS = "undo_others"

    def may(self, wanted: Role) -> bool:
        """Whether it includes another role."""
        if Role.REPORT in (self, wanted):
            return self is wanted
        order = list(Role)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True, slots=True)
class Person:
    """A reviewer, or an application.

    Attributes:
        name: as it stands in the log.
        role: what they may do.
        digest: SHA-256 of their token, in hex; None for those without one.
    """

    name: str
    role: Role
    digest: str | None = None


class People:
    """The reviewers in a file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_as: tuple[int, int] | None = None
        self._people: dict[str, Person] = {}

    def by_name(self, name: str) -> Person | None:
        """The person of this name."""
        return self._current().get(name)

    def by_token(self, token: str) -> Person | None:
        """The person with this token."""
        digest = digest_of(token)
        found = None
        for person in self._current().values():
            if person.digest is not None and secrets.compare_digest(person.digest, digest):
                found = person
        return found

    def _current(self) -> Mapping[str, Person]:
        with self._lock:
            try:
                state = self._path.stat()
            except OSError as error:
                raise ConfigurationError(
                    f"the reviewers' file {self._path} cannot be read: {error.strerror}; make it "
                    "with 'saferank reviewers add NAME', or set SAFERANK_REVIEW__REVIEWERS"
                ) from error
            read_as = state.st_mtime_ns, state.st_size
            if read_as != self._read_as:
                self._people = read_people(self._path)
                self._read_as = read_as
            return self._people


def read_people(path: Path) -> dict[str, Person]:
    """Read a file of reviewers.

    Raises:
        ConfigurationError: it cannot be read, or an entry is wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the reviewers' file {path} cannot be read: {error}") from error
    people = {}
    for name, table in tables.items():
        known = {"role", "token_sha256"}
        if not isinstance(table, dict) or not set(table) <= known or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{path}: {name!r} must be a table with 'role' and 'token_sha256', and a name of "
                "letters, digits and .@+- of at most 100"
            )
        role, digest = table.get("role"), table.get("token_sha256")
        if role not in list(Role):
            raise ConfigurationError(f"{path}: the role of {name!r} is one of {', '.join(Role)}")
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
            raise ConfigurationError(
                f"{path}: 'token_sha256' of {name!r} is not a SHA-256 in hexadecimal"
            )
        people[name] = Person(name, Role(role), digest)
    return people


def add_person(path: Path, name: str, role: Role, *, with_token: bool = True) -> str | None:
    """Add somebody to a file, which is made if need be, for its owner's eyes alone.

    Returns:
        Their token, which is stored nowhere; None without one.

    Raises:
        ConfigurationError: the name is taken or cannot be one, or the file cannot be written.
    """
    known = read_people(path) if path.exists() else {}
    if name in known:
        raise ConfigurationError(f"{path} has {name!r} already; take the old entry out first")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a name; use at most 100 letters, digits and .@+-"
        )
    token = secrets.token_urlsafe(32) if with_token else None
    lines = [f"[{quoted(name)}]", f"role = {quoted(role.value)}"]
    if token is not None:
        lines.append(f"token_sha256 = {quoted(digest_of(token))}")
    append_table(path, lines)
    return token
