"""Who sends a request: keys, signed tokens, proxies, and a file that changes."""

from __future__ import annotations

import base64
import hmac
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import ConfigurationError
from saferank.gateway.answers import Refused
from saferank.gateway.callers import NOBODY, Caller, Callers, Rights, add_key, read_callers
from saferank.gateway.tokens import Tokens, TokenSettings
from saferank.ranker import load_policy

POLICY = load_policy("""version: 1
levels: {off: {}, strict: {hide_from: 0.2, unscored: hide}}
attributes: {audience: [child, adult], region: }
contexts: [{level: strict}]
""")


def sign(key: Any, key_id: str | None, algorithm: str = "ES256", **claims: Any) -> str:
    said = {"exp": time.time() + 60, "aud": "search", **claims}
    headers = {} if key_id is None else {"kid": key_id}
    return jwt.encode({k: v for k, v in said.items() if v is not None}, key, algorithm, headers)


def write_keys(path: Path, **keys: Any) -> None:
    """Write a JWKS, as a rotation does: a new file in the place of the old one."""
    parts = [
        {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": name}
        for name, key in keys.items()
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": parts}))
    new.replace(path)


def with_secret(token: str, secret: bytes) -> str:
    """A token that says that it is signed with a shared secret, which is the public key."""
    part = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').decode().rstrip("=")
    signed = f"{part}.{token.split('.')[1]}"
    mac = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


ONE, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    write_keys(tmp_path / "keys.json", one=ONE)
    file = tmp_path / "callers.toml"
    file.write_text("""
[tokens]
keys = "keys.json"
audience = "search"
issuer = "https://id.example"
context = {audience = "age group", region = "country"}

[proxies.edge]
networks = ["192.0.2.0/24"]
says = ["region"]
""")
    return Callers(file, POLICY)


async def with_token(callers: Callers, token: str) -> Caller:
    return await callers.who([f"Bearer {token}"], "127.0.0.1")


async def test_claims_become_the_context(callers: Callers) -> None:
    token = sign(ONE, "one", iss="https://id.example", sub="ann", **{"age group": "adult"})
    caller = await with_token(callers, token)
    assert caller.name == "token:ann"
    assert caller.context_of([]) == {"audience": "adult"}
    assert not caller.writes
    with pytest.raises(Refused):
        caller.context_of(["region=DE"])


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 3600},
        {"exp": None},
        {"nbf": time.time() + 3600},
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"age group": ["adult"]},
        {"age group": {"a": 1}},
    ],
    ids=lambda claims: "-".join(f"{name}" for name in claims),
)
async def test_a_token_that_is_not_for_here_and_now_is_refused(
    callers: Callers, claims: dict[str, Any]
) -> None:
    token = sign(ONE, "one", **{"iss": "https://id.example", **claims})
    with pytest.raises(Refused) as refused:
        await with_token(callers, token)
    assert refused.value.status == 401


async def test_signatures_that_do_not_count_are_refused(callers: Callers, tmp_path: Path) -> None:
    claims = {"iss": "https://id.example"}
    public = (tmp_path / "keys.json").read_bytes()
    forged = [
        sign(OTHER, "one", **claims),
        sign(OTHER, "other", **claims),
        sign("", "one", "none", **claims),
        with_secret(sign(ONE, "one", **claims), public),
        sign(rsa.generate_private_key(65537, 2048), "one", "RS256", **claims),
        sign(ONE, "one", **claims)[:-4] + "AAAA",
        "a.b.c",
        "",
    ]
    head, body, signature = sign(ONE, "one", **claims).split(".")
    changed = json.loads(base64.urlsafe_b64decode(body + "==")) | {"age group": "adult"}
    other = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    for token in [*forged, f"{head}.{other}.{signature}"]:
        with pytest.raises(Refused) as refused:
            await with_token(callers, token)
        assert refused.value.status == 401


async def test_keys_change_without_a_stop(callers: Callers, tmp_path: Path) -> None:
    claims = {"iss": "https://id.example"}
    old, new = sign(ONE, "one", **claims), sign(OTHER, "other", **claims)
    await with_token(callers, old)
    write_keys(tmp_path / "keys.json", one=ONE, other=OTHER)
    await with_token(callers, old)
    await with_token(callers, new)
    write_keys(tmp_path / "keys.json", other=OTHER)
    with pytest.raises(Refused):
        await with_token(callers, old)
    (tmp_path / "keys.json").write_text("damaged")
    await with_token(callers, new)


async def test_a_token_that_counted_counts_no_longer_than_its_key_and_its_time(
    callers: Callers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sign(ONE, "one", iss="https://id.example", sub="ann", **{"age group": "adult"})
    for _ in range(2):
        assert (await with_token(callers, token)).context == {"audience": "adult"}
    head, body, signature = token.split(".")
    for other in (
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        f"{token}.",
        token[:-1],
    ):
        with pytest.raises(Refused):
            await with_token(callers, other)
    write_keys(tmp_path / "keys.json", one=OTHER)  # The same name for another key.
    with pytest.raises(Refused, match="ignature"):
        await with_token(callers, token)
    write_keys(tmp_path / "keys.json", one=ONE)
    await with_token(callers, token)
    monkeypatch.setattr("saferank.gateway.tokens._LEEWAY", -3600.0)  # As if an hour had passed.
    with pytest.raises(Refused, match="expired"):
        await with_token(callers, token)


@pytest.mark.parametrize("exp", [10**400, 4e9, str(2**40), 2**40 + 0.5], ids=str)
async def test_a_token_counts_as_often_as_it_is_sent(callers: Callers, exp: Any) -> None:
    token = sign(ONE, "one", iss="https://id.example", sub="ann", exp=exp)
    for _ in range(3):
        assert (await with_token(callers, token)).name == "token:ann"


@pytest.mark.parametrize(
    "exp", [float("nan"), float("inf"), "later", [2**40], {}, True, -(10**400)], ids=str
)
async def test_a_token_without_an_end_that_can_be_read_is_refused(
    callers: Callers, exp: Any
) -> None:
    token = sign(ONE, "one", iss="https://id.example", exp=exp)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await with_token(callers, token)
        assert refused.value.status == 401


def with_head(key: Any, head: Any, **claims: Any) -> str:
    """A token that is signed, with any head."""
    said = {"exp": time.time() + 60, "aud": "search", "iss": "https://id.example", **claims}
    parts = [
        base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode())
        .decode()
        .rstrip("=")
        for part in (head, said)
    ]
    algorithm = jwt.get_algorithm_by_name("ES256")
    signature = algorithm.sign(".".join(parts).encode(), key)
    return ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])


PUBLIC = jwt.algorithms.ECAlgorithm.to_jwk(OTHER.public_key(), as_dict=True)


@pytest.mark.parametrize(
    "head",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "keys.json"},
        {"kid": "/dev/null"},
        {"kid": ""},
        {"kid": "one\u0000"},
        {"kid": "One"},
        {"kid": ["one"]},
        {"kid": {"one": 1}},
        {"kid": 1},
        {"jwk": PUBLIC},
        {"kid": "other", "jwk": {**PUBLIC, "kid": "other"}},
        {"kid": "one", "jku": "https://evil.example/keys.json"},
        {"kid": "one", "x5u": "file:///dev/null", "x5c": ["AAAA"]},
        {"kid": "one", "alg": "none"},
        {"kid": "one", "alg": "None"},
        {"kid": "one", "alg": "es256"},
        {"kid": "one", "alg": "HS256"},
        {"kid": "one", "alg": ["ES256"]},
        {"kid": "one", "alg": None},
        {"kid": "one", "crit": ["exp"]},
        {"kid": "one", "crit": ["unknown"], "unknown": 1},
        {"kid": "one", "b64": False},
        b'{"alg":"ES256","kid":"one","kid":"other"}',
        b'{"alg":"ES256","alg":"none","kid":"one"}',
        b'["ES256"]',
        b"null",
        b"",
        b"\xff",
    ],
    ids=str,
)
async def test_what_a_head_says_brings_no_key_and_no_way_of_signing(
    callers: Callers, head: Any
) -> None:
    if isinstance(head, dict):
        head = {"alg": "ES256", **head}
    with pytest.raises(Refused) as refused:
        await with_token(callers, with_head(OTHER, head, sub="ann"))
    assert refused.value.status == 401


async def test_the_same_with_the_known_key_counts(callers: Callers) -> None:
    head = {"alg": "ES256", "kid": "one"}
    assert (await with_token(callers, with_head(ONE, head, sub="ann"))).name == "token:ann"
    for more in ({"crit": ["unknown"], "unknown": 1}, {"alg": "none"}, {"alg": "HS256"}):
        with pytest.raises(Refused):
            await with_token(callers, with_head(ONE, {**head, **more}))


async def test_what_was_found_out_about_a_token_is_for_its_file_alone(
    callers: Callers, tmp_path: Path
) -> None:
    token = sign(ONE, "one", iss="https://id.example", **{"age group": "adult"})
    await with_token(callers, token)
    file = tmp_path / "callers.toml"
    file.write_text(file.read_text().replace('"search"', '"another service"'))
    with pytest.raises(Refused, match="udience"):
        await with_token(callers, token)


async def test_a_token_is_checked_once(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.json", one=ONE)
    tokens = Tokens(TokenSettings(keys="keys.json", audience="search"), tmp_path)
    token, other = sign(ONE, "one", sub="ann"), sign(ONE, "one", sub="bea")
    first = await tokens.claims(token)
    assert (await tokens.claims(other))["sub"] == "bea"
    assert await tokens.claims(token) is first


async def test_a_proxy_is_known_by_its_connection_alone(callers: Callers) -> None:
    proxy = await callers.who([], "192.0.2.7")
    assert proxy.context_of(["region=DE"]) == {"region": "DE"}
    with pytest.raises(Refused):
        proxy.context_of(["audience=adult"])
    for address in ("198.51.100.1", None, "192.0.2.7, 10.0.0.1"):
        assert await callers.who([], address) is NOBODY


async def test_a_key_counts_until_it_is_taken_out(tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    rights = Rights(context={"audience": "child"}, says=("region",), writes=True)
    sent = add_key(file, "shop", rights)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert base64.b64decode(sent).decode().partition(":")[2] not in file.read_text()
    callers = Callers(file, POLICY, required=True)
    caller = await callers.who([f"ApiKey {sent}"], None)
    assert (caller.name, caller.writes) == ("shop", True)
    assert caller.context_of(["region=DE"]) == {"audience": "child", "region": "DE"}
    with pytest.raises(Refused, match="is set for this caller"):
        Caller("x", {"region": "FR"}, frozenset({"region"})).context_of(["region=DE"])
    with pytest.raises(Refused):
        await callers.who([], None)
    file.write_text("")
    os.utime(file, ns=(1, 1))
    with pytest.raises(Refused):
        await callers.who([f"ApiKey {sent}"], None)


async def test_a_damaged_file_leaves_the_callers_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    sent = add_key(file, "shop", Rights())
    callers = Callers(file, POLICY)
    file.write_text("[keys.shop")
    assert (await callers.who([f"ApiKey {sent}"], None)).name == "shop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[keys.shop]", "secret_sha256"),
        ("[keys.shop]\nsecret_sha256 = 'x'", "secret_sha256"),
        ("[other]", "other"),
        ("[proxies.edge]\nnetworks = ['10.0.0.0/8']\ncontext = {colour = 'red'}", "colour"),
        ("[proxies.edge]\nnetworks = ['10.0.0.0/8']\nsays = ['colour']", "colour"),
        ("[proxies.edge]\nnetworks = []", "networks"),
        ("[tokens]\nkeys = 'none.json'\naudience = 'a'", "none.json"),
        ("[tokens]\nkeys = 'http://id.example/keys'\naudience = 'a'", "on the way"),
        ("[tokens]\nkeys = 'k'\naudience = 'a'\nalgorithms = ['none']", "'none'"),
    ],
)
def test_a_wrong_file_is_refused_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "callers.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        Callers(file, POLICY)


@given(
    st.dictionaries(st.text(), st.text()).filter(
        lambda pairs: all(text.isprintable() for pair in pairs.items() for text in pair)
    ),
    st.lists(st.text().filter(str.isprintable)),
)
def test_what_is_added_is_read_again_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, context: dict[str, str], says: list[str]
) -> None:
    file = tmp_path_factory.mktemp("callers") / "callers.toml"
    add_key(file, "a", Rights(context=context, says=tuple(says), explained=True))
    add_key(file, "b", Rights(writes=True))
    with pytest.raises(ConfigurationError, match="already"):
        add_key(file, "b", Rights())
    found = read_callers(file).keys
    assert (found["a"].context, found["a"].says) == (context, tuple(says))
    assert (found["a"].writes, found["b"].writes) == (False, True)
