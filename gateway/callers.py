"""Who sends a request, and what is known of it: only from where the sender cannot forge it.

A signed token, an API key, or a header that a named proxy sets. The file of the callers is TOML::

    [keys.shop]                       # Authorization: ApiKey …, or Basic …
    secret_sha256 = "…"               # of the secret that `saferank callers add` printed once
    context = {surface = "shop"}      # what holds for all of its requests
    says = ["audience", "requested"]  # what each may say of itself, in X-Saferank-Context
    writes = true
    explained = true

    [tokens]                          # Authorization: Bearer …
    keys = "jwks.json"
    audience = "search"
    context = {audience = "age_group"}

    [proxies.edge]                    # no Authorization; by the address that it comes from
    networks = ["10.0.0.0/8"]
    says = ["audience", "region"]

The file is read again when it changes, so who is taken out of it is out at once.
"""

from __future__ import annotations

import base64
import logging
import re
import secrets
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError

from saferank.access import append_table, digest_of, quoted
from saferank.errors import ConfigurationError, ContextError, fault_of
from saferank.gateway.answers import Refused, forbidden, malformed
from saferank.gateway.tokens import TokenRefused, Tokens, TokenSettings
from saferank.networks import comes_from
from saferank.ranker.policy.contexts import REQUESTED
from saferank.ranker.policy.file import PolicyFile, current_policy
from saferank.ranker.policy.policy import Policy

CONTEXT_HEADER = "X-Saferank-Context"
"""Attributes of a request, as ``audience=adult&region=DE``."""

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[\w.@+-]{1,100}")
_MOST_ATTRIBUTES = 20

Name = Annotated[str, Field(pattern=r"^[\w.@+-]{1,100}$")]


class Rights(BaseModel):
    """What is known of a caller, and what it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context: Annotated[
        Mapping[str, str], Field(description="attributes of all of its requests")
    ] = {}
    says: Annotated[
        tuple[str, ...],
        Field(description=f"attributes that a request of it may give in `{CONTEXT_HEADER}`"),
    ] = ()
    writes: Annotated[bool, Field(strict=True, description="it may change documents")] = False
    explained: Annotated[
        bool, Field(strict=True, description="hits say what was done to them and why")
    ] = False


class Key(Rights):
    """An API key."""

    secret_sha256: Annotated[
        str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of its secret, in hex")
    ]


class Proxy(Rights):
    """A proxy that knows its users."""

    networks: Annotated[
        tuple[IPvAnyNetwork, ...], Field(min_length=1, description="where it connects from")
    ]


class CallersFile(BaseModel):
    """The file of the callers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[dict[Name, Key], Field(description="API keys, by their ids")] = {}
    tokens: Annotated[TokenSettings | None, Field(description="signed tokens")] = None
    proxies: Annotated[dict[Name, Proxy], Field(description="proxies that know their users")] = {}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        name: as logs have it.
        context: what is known of all of its requests.
        says: attributes that a request may give.
        writes: whether it may change documents.
        explained: whether its hits say what was done to them.
    """

    name: str
    context: Mapping[str, str] = field(default_factory=dict)
    says: frozenset[str] = frozenset()
    writes: bool = False
    explained: bool = False

    @classmethod
    def of(cls, name: str, rights: Rights) -> Caller:
        """The caller with these rights."""
        says = frozenset(rights.says)
        return cls(name, rights.context, says, rights.writes, rights.explained)

    def context_of(self, said: Sequence[str]) -> Mapping[str, str]:
        """The context of a request: what is known of the caller, and what the request says.

        Args:
            said: the headers in which it says something.

        Raises:
            Refused: it says what it may not, or twice.
        """
        if not said:
            return self.context
        if not self.says:
            raise forbidden(
                f"{CONTEXT_HEADER} is believed only from callers that the gateway's file lets say "
                "something; leave it out, or list its attributes under 'says' of this caller"
            )
        given = _attributes(said)
        for name in given.keys() - self.says:
            raise forbidden(f"this caller may not say {name!r} in {CONTEXT_HEADER}")
        for name in given.keys() & self.context.keys():
            raise forbidden(f"{name!r} is set for this caller; leave it out of {CONTEXT_HEADER}")
        return {**self.context, **given}


NOBODY = Caller("nobody")
"""Whoever sends a request without any proof."""


def _attributes(said: Sequence[str]) -> dict[str, str]:
    if len(said) > 1:
        raise malformed(f"{CONTEXT_HEADER} is given twice")
    try:
        pairs = parse_qsl(
            said[0],
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_ATTRIBUTES,
        )
    except ValueError as error:
        raise malformed(
            f"{CONTEXT_HEADER} cannot be read ({error}); write it as audience=adult&region=DE"
        ) from error
    given = dict(pairs)
    if len(given) < len(pairs):
        raise malformed(f"{CONTEXT_HEADER} has an attribute twice")
    return given


class Callers:
    """The callers in a file.

    Args:
        path: of the file; None where nobody is known.
        policy: that their contexts are for.
        required: whether a request without any proof is refused.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(
        self, path: Path | None, policy: Policy | PolicyFile, *, required: bool = False
    ) -> None:
        self._path = path
        self._policy = policy
        self._required = required
        self._read_as: tuple[int, int, int] | None = None
        self._file = CallersFile()
        self._tokens: Tokens | None = None
        self._refresh()

    async def who(self, authorization: Sequence[str], address: str | None) -> Caller:
        """Who sends a request.

        Args:
            authorization: the headers of that name.
            address: of the other end of the connection.

        Raises:
            Refused: the proof is wrong, or there is none and one is required.
        """
        self._refresh()
        if len(authorization) > 1:
            raise malformed("the header 'Authorization' is given twice")
        if authorization:
            return await self._proven(authorization[0])
        for name, proxy in self._file.proxies.items():
            if comes_from(address, proxy.networks):
                return Caller.of(name, proxy)
        if self._required:
            raise self._unknown("this gateway answers only callers that it knows")
        return NOBODY

    async def _proven(self, header: str) -> Caller:
        scheme, _, value = header.strip().partition(" ")
        match scheme.lower():
            case "apikey" | "basic":
                return self._with_key(value.strip())
            case "bearer" if self._tokens is not None:
                return await self._with_token(value.strip(), self._tokens)
        raise self._unknown("the header 'Authorization' is of a kind that is not taken here")

    def _with_key(self, value: str) -> Caller:
        try:
            name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            name = secret = ""
        key = self._file.keys.get(name)
        expected = "" if key is None else key.secret_sha256
        if key is None or not secrets.compare_digest(expected, digest_of(secret)):
            raise self._unknown("there is no such API key")
        return Caller.of(name, key)

    async def _with_token(self, token: str, tokens: Tokens) -> Caller:
        try:
            claims = await tokens.claims(token)
            context = tokens.context(claims)
        except TokenRefused as error:
            raise self._unknown(f"the token does not count: {error}") from error
        name = f"token:{claims.get('sub', '')}"[:100]
        return Caller(name, context, explained=tokens.settings.explained)

    def _unknown(self, reason: str) -> Refused:
        schemes = ['ApiKey realm="saferank"'] if self._file.keys else []
        schemes += ['Bearer realm="saferank"'] if self._tokens is not None else []
        headers = {"WWW-Authenticate": ", ".join(schemes or ['ApiKey realm="saferank"'])}
        return Refused(HTTPStatus.UNAUTHORIZED, "security_exception", reason, headers)

    def _refresh(self) -> None:
        """Read the file if it has changed; a wrong one leaves the callers as they were."""
        if self._path is None:
            return
        try:
            state = self._path.stat()
        except OSError as error:
            if self._read_as is None:
                raise ConfigurationError(
                    f"the callers' file {self._path} cannot be read: {error.strerror}; make it "
                    "with 'saferank callers add NAME'"
                ) from error
            return
        read_as = state.st_mtime_ns, state.st_size, state.st_ino
        if read_as == self._read_as:
            return
        try:
            file = read_callers(self._path)
            self._check(file)
            tokens = None if file.tokens is None else Tokens(file.tokens, self._path.parent)
        except ConfigurationError as error:
            if self._read_as is None:
                raise
            _log.error("callers are as they were before: %s", error)
        else:
            self._file, self._tokens = file, tokens
        self._read_as = read_as

    def _check(self, file: CallersFile) -> None:
        """See that the policy knows what callers say."""
        policy = current_policy(self._policy)
        known = {*policy.known_attributes, REQUESTED}
        for name, rights in (*file.keys.items(), *file.proxies.items()):
            try:
                policy.resolve(rights.context)
            except ContextError as error:
                raise ConfigurationError(
                    f"{self._path}: the context of {name!r}: {error}"
                ) from error
            _check_known(rights.says, known, f"{self._path}: 'says' of {name!r}")
        if file.tokens is not None:
            _check_known(file.tokens.context, known, f"{self._path}: 'tokens.context'")


def _check_known(attributes: Iterable[str], known: set[str], where: str) -> None:
    for attribute in set(attributes) - known:
        raise ConfigurationError(
            f"{where}: the policy knows no attribute {attribute!r}; it knows "
            f"{', '.join(sorted(known))}"
        )


def read_callers(path: Path) -> CallersFile:
    """Read a file of callers.

    Raises:
        ConfigurationError: it cannot be read, or an entry is wrong.
    """
    try:
        return CallersFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        fault = fault_of(where, first["type"], first["msg"])
        raise ConfigurationError(f"{path}: {fault}") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the callers' file {path} cannot be read: {error}") from error


def add_key(path: Path, name: str, rights: Rights) -> str:
    """Add an API key to a file, which is made if need be, for its owner's eyes alone.

    Returns:
        What a client sends behind ``Authorization: ApiKey``; it is stored nowhere.

    Raises:
        ConfigurationError: the name is taken or cannot be one, or the file cannot be written.
    """
    if path.exists() and name in read_callers(path).keys:
        raise ConfigurationError(f"{path} has {name!r} already; take the old entry out first")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a name; use at most 100 letters, digits and .@+-"
        )
    secret = secrets.token_urlsafe(32)
    lines = [f"[keys.{quoted(name)}]", f"secret_sha256 = {quoted(digest_of(secret))}"]
    if rights.context:
        pairs = ", ".join(
            f"{quoted(key)} = {quoted(value)}" for key, value in rights.context.items()
        )
        lines.append(f"context = {{{pairs}}}")
    if rights.says:
        lines.append(f"says = [{', '.join(map(quoted, rights.says))}]")
    lines += [f"{flag} = true" for flag in ("writes", "explained") if getattr(rights, flag)]
    append_table(path, lines)
    return base64.b64encode(f"{name}:{secret}".encode()).decode()
