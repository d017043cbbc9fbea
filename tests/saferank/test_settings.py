"""Settings as people type them, and what they read when they are wrong."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from saferank.connection import connect
from saferank.errors import ConfigurationError
from saferank.settings import CategorySettings, Settings, get_settings, shown


@pytest.fixture(autouse=True)
def unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("SAFERANK_FETCH__FILE_ROOTS", "/tmp", (Path("/tmp"),)),
        ("SAFERANK_FETCH__FILE_ROOTS", "/a, /b", (Path("/a"), Path("/b"))),
        ("SAFERANK_FETCH__FILE_ROOTS", '["/a,b"]', (Path("/a,b"),)),
        ("SAFERANK_FETCH__STORES", "s3,gs", ("s3", "gs")),
        ("SAFERANK_INDEXER__SWEEP", "products", ("products",)),
    ],
)
def test_a_list_may_be_written_with_commas(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, read: object
) -> None:
    monkeypatch.setenv(variable, value)
    group, name = variable.removeprefix("SAFERANK_").lower().split("__")
    assert getattr(getattr(get_settings(), group), name) == read


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("SAFERANK_FETCH__FILE_ROOTS", '["/tmp"', "file_roots"),
        ("SAFERANK_FETCH__ALLOWED_NETWORKS", "10.0.0.0/8,banana", "fetch.allowed_networks.1"),
        ("SAFERANK_FETCH", "fast", "'fetch'"),
        ("SAFERANK_FETCH__USER_AGENT", "shop\nX: y", "fetch.user_agent"),
        ("SAFERANK_BROKER_OPTIONS", "master_name", "broker_options"),
        ("SAFERANK_INDEXER__CHUNK_SIZE", "many", "indexer.chunk_size"),
        ("SAFERANK_ELASTICSEARCH_CA_CERTS", "/nowhere.pem", "elasticsearch_ca_certs"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=named) as raised:
        get_settings()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SAFERANK_ELASTICSERCH_URL", "SAFERANK_ELASTICSEARCH_URL"),
        ("SAFERANK_FETCH_TIMEOUT", "SAFERANK_FETCH__TIMEOUT"),
        ("SAFERANK_MODELS", "SAFERANK_MODEL"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigurationError, match=rf"no setting {variable}; did you mean {meant}\?"):
        get_settings()


@pytest.mark.parametrize(
    "variable",
    [
        "saferank_field",
        "SAFERANK_CATEGORIES__NUDITY__FIELD",
        "SAFERANK_VERSION",
        "SAFERANK_TEST_ELASTICSEARCH_URL",
        # Kubernetes makes these of services.
        *(
            f"SAFERANK_{name}_{end}"
            for name in ("GATEWAY", "REVIEW", "WORKER")
            for end in ("PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_9280_TCP_ADDR")
        ),
        "SAFERANK_PORT",
    ],
)
def test_a_variable_of_something_else_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("SAFERANK_CATEGORIES__NUDITY__MODEL", "open_nsfw")
    monkeypatch.setenv("SAFERANK_CATEGORIES__NUDITY__FIELD", "safety")
    monkeypatch.setenv(variable, "safety")
    get_settings()


@pytest.mark.parametrize("text", [b"field = [", b'field = "\xff"'])
def test_a_file_that_cannot_be_read_is_named(text: bytes) -> None:
    Path("saferank.toml").write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"saferank\.toml"):
        get_settings()


def test_nothing_that_shows_settings_shows_a_secret() -> None:
    settings = Settings(
        elasticsearch_url="https://user:planted@es:9200",
        elasticsearch_api_key="planted",
        elasticsearch_password="planted",
        broker_url="amqp://user:planted@one;amqp://user:planted@two",
        broker_password="planted",
        fetch={"proxy": "http://user:planted@proxy:3128"},
    )
    assert "planted" not in f"{settings!r} {settings}"
    assert settings.elasticsearch_url == "https://user:planted@es:9200"


@pytest.mark.parametrize(
    ("address", "visible"),
    [
        ("https://es:9200/path", "https://es:9200/path"),
        ("https://u:p/w@x@es:9200", "https://**@es:9200"),
        ("u:p@es", "**@es"),
        ("redis://:p@h:6379/0", "redis://**@h:6379/0"),
        ("amqp://u:p@a;amqp://u:p@b", "amqp://**@a;amqp://**@b"),
        ("redis://h/0?password=p&db=1", "redis://h/0?password=**&db=1"),
    ],
)
def test_an_address_is_shown_without_its_credentials(address: str, visible: str) -> None:
    assert shown(address) == visible


@pytest.mark.parametrize(
    "settings",
    [
        {"elasticsearch_url": "localhost:9200"},
        {"elasticsearch_url": "http://user:planted@localhost"},
        {"elasticsearch_user": "somebody"},
        {"elasticsearch_password": "planted"},
    ],
)
def test_an_address_that_cannot_be_asked(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="SAFERANK_ELASTICSEARCH_") as raised:
        connect(Settings(**settings))
    assert "planted" not in str(raised.value)


CATEGORIES = {
    "nudity": {"field": "safety", "model": "open_nsfw"},
    "violence": {"field": "safety_violence", "model": "/models/violence.toml"},
}


def test_what_knows_one_category_works_on_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFERANK_CATEGORIES", json.dumps(dict(reversed(CATEGORIES.items()))))
    settings = get_settings()
    assert (settings.field, settings.model) == ("safety_violence", "/models/violence.toml")
    assert [*settings.model_by_field] == ["safety_violence", "safety"]
    alone = settings.of_category("nudity")
    assert (alone.field, alone.model) == ("safety", "open_nsfw")
    assert alone.model_by_field == {"safety": "open_nsfw"}


@pytest.mark.parametrize("shared", [None, "decided"])
def test_overrides_outside_of_the_documents_are_about_the_first_category_or_all(
    shared: str | None,
) -> None:
    several = {name: CategorySettings(field=name, model="m") for name in ("first", "second")}
    settings = Settings(categories=several, overrides="kept", override_field=shared)
    assert settings.of_category("first").overrides == "kept"
    assert settings.of_category("second").overrides == (None if shared is None else "kept")


def test_one_category_needs_no_name() -> None:
    settings = Settings(field="scores", model="open_nsfw")
    assert settings.model_by_field == {"scores": "open_nsfw"}
    with pytest.raises(ConfigurationError, match=r"'violence'.*none is named"):
        settings.of_category("violence")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"field": "other"}, "'other'.*'safety'.*leave 'field' out"),
        ({"categories": {"a b": {"field": "x", "model": "y"}}}, "categories"),
        ({"categories": {"a": {"field": "x"}}}, "model"),
        ({"categories": {"a": {"field": "x", "model": "y", "level": 1}}}, "level"),
        (
            {"categories": {one: {"field": "x", "model": "y"} for one in ("a", "b")}},
            "'x' and 'x' are the same",
        ),
        (
            {
                "categories": {
                    "a": {"field": "x", "model": "y"},
                    "b": {"field": "x.b", "model": "y"},
                }
            },
            "inside the other",
        ),
    ],
)
def test_categories_that_contradict_each_other_are_refused(
    values: dict[str, object], named: str
) -> None:
    with pytest.raises(ValidationError, match=f"(?s){named}"):
        Settings.model_validate({"categories": CATEGORIES, **values})
