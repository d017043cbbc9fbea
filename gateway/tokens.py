"""Signed tokens (JWT): whose signature counts, by keys that change."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jwt
from pydantic import BaseModel, ConfigDict, Field

from saferank.errors import ConfigurationError

_log = logging.getLogger(__name__)

_FETCH_AGAIN_AFTER = 300.0
_FETCH_AT_MOST_EVERY = 10.0
_FETCH_TIMEOUT = 5.0
_LEEWAY = 30.0
_REMEMBERED = 1_000


class TokenSettings(BaseModel):
    """Which tokens count, and what their claims say of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[
        str,
        Field(description="the signers' public keys (JWKS): a file, or the https address of one"),
    ]
    audience: Annotated[
        str, Field(min_length=1, description="the `aud` that a token must have, to be meant here")
    ]
    issuer: Annotated[str | None, Field(description="the `iss` that it must have")] = None
    algorithms: Annotated[
        tuple[str, ...], Field(min_length=1, description="ways of signing that count")
    ] = ("RS256", "PS256", "ES256", "EdDSA")
    context: Annotated[
        Mapping[str, str],
        Field(description="attribute of the context: the claim that holds it"),
    ] = {}
    explained: Annotated[
        bool, Field(strict=True, description="hits say what was done to them and why")
    ] = False


class TokenRefused(Exception):
    """A token that does not count; the message says why."""


class _Checked(NamedTuple):
    """A token whose signature and claims were found good.

    Attributes:
        key_id: that it names.
        key: that it is signed with.
        claims: what it says.
    """

    key_id: str | None
    key: jwt.PyJWK
    claims: Mapping[str, Any]

    @property
    def is_over(self) -> bool:
        """Whether its time is up; once begun, it only ends."""
        return int(self.claims["exp"]) <= time.time() - _LEEWAY


class SigningKeys:
    """The keys of a JWKS, read again when they change.

    Args:
        where: path of a file, or an https address. A file is read again when it is written. An
            address is asked again every five minutes, and when a token names a key that is not
            known, though at most every ten seconds.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_as: tuple[int, int, int] | None = None
        self._fetched_at = -_FETCH_AGAIN_AFTER
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """The key of this id; the only one there is, for a token that names none.

        Raises:
            TokenRefused: there is none.
        """
        await self._refresh(key_id)
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if key_id not in self._keys:
            raise TokenRefused("it is signed with a key that is not known")
        return self._keys[key_id]

    async def _refresh(self, key_id: str | None) -> None:
        if isinstance(self._where, Path):
            self.read_file()
            return
        unknown = key_id not in self._keys
        if self._age > _FETCH_AGAIN_AFTER or (unknown and self._age > _FETCH_AT_MOST_EVERY):
            async with self._fetching:
                if self._age > _FETCH_AT_MOST_EVERY:
                    await asyncio.to_thread(self._fetch, self._where)

    @property
    def _age(self) -> float:
        return time.monotonic() - self._fetched_at

    def read_file(self) -> None:
        """Read the file if it has changed; a damaged one leaves the keys as they were.

        Raises:
            ConfigurationError: nothing was read yet, and it cannot be.
        """
        assert isinstance(self._where, Path)
        try:
            state = self._where.stat()
            read_as = state.st_mtime_ns, state.st_size, state.st_ino
            if read_as != self._read_as:
                self._keys = _parsed(json.loads(self._where.read_bytes()))
                self._read_as = read_as
        except (OSError, ValueError, jwt.PyJWTError) as error:
            if self._read_as is None:
                raise ConfigurationError(
                    f"the signers' keys {self._where} cannot be read: {error}; a JWKS is expected"
                ) from error
            _log.error("the signers' keys %s cannot be read: %s", self._where, error)

    def _fetch(self, address: str) -> None:
        self._fetched_at = time.monotonic()
        client = jwt.PyJWKClient(address, cache_jwk_set=False, timeout=int(_FETCH_TIMEOUT))
        try:
            self._keys = _parsed(client.fetch_data())
        except (jwt.PyJWTError, ValueError, OSError) as error:
            _log.error("the signers' keys at %s cannot be fetched: %s", address, error)


def _parsed(data: Any) -> dict[str | None, jwt.PyJWK]:
    return {key.key_id: key for key in jwt.PyJWKSet.from_dict(data).keys}


class Tokens:
    """Reads tokens.

    Args:
        settings: which ones count.
        folder: that a relative path of the keys is seen from.

    Raises:
        ConfigurationError: the keys cannot be read, or an algorithm is none.
    """

    def __init__(self, settings: TokenSettings, folder: Path) -> None:
        self.settings = settings
        known = jwt.algorithms.get_default_algorithms().keys() - {"none"}
        for name in set(settings.algorithms) - known:
            raise ConfigurationError(
                f"tokens.algorithms: there is no {name!r}; there are {', '.join(sorted(known))}"
            )
        if settings.keys.startswith("https://"):
            self._keys = SigningKeys(settings.keys)
        elif "://" in settings.keys:
            raise ConfigurationError(
                f"tokens.keys: {settings.keys!r} could be changed on the way; give an https "
                "address, or a file"
            )
        else:
            self._keys = SigningKeys(folder / settings.keys)
            self._keys.read_file()
        self._checked: dict[str, _Checked] = {}

    async def claims(self, token: str) -> Mapping[str, Any]:
        """What a token says; not to be changed.

        A signature takes 0.2 ms to check. A token that was found good stays so until its time is
        up, or the key under the name that it gives is another.

        Raises:
            TokenRefused: it is not signed by a known key, not valid now, or not meant for here.
        """
        known = self._checked.get(token)
        if known is not None:
            key = await self._keys.find(known.key_id)
            if key is known.key and not known.is_over:
                return known.claims
        checked = await self._check(token)
        if len(self._checked) >= _REMEMBERED:
            self._checked.clear()
        self._checked[token] = checked
        return checked.claims

    async def _check(self, token: str) -> _Checked:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.find(key_id)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self.settings.algorithms),
                audience=self.settings.audience,
                issuer=self.settings.issuer,
                leeway=_LEEWAY,
                options={"require": ["exp"]},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(str(error)) from error
        return _Checked(key_id, key, claims)

    def context(self, claims: Mapping[str, Any]) -> dict[str, str]:
        """The attributes of a context that claims hold; one that is not there is left out.

        Raises:
            TokenRefused: a claim is neither text, a number nor a truth value.
        """
        context = {}
        for attribute, claim in self.settings.context.items():
            value = claims.get(claim)
            if isinstance(value, bool):
                value = str(value).lower()
            if isinstance(value, str | int):
                context[attribute] = str(value)
            elif value is not None:
                raise TokenRefused(f"its claim {claim!r} is not text")
        return context
