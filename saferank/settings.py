"""Settings: environment variables ``SAFERANK_*`` over ``saferank.toml`` over the defaults here.

Nested settings use two underscores: ``SAFERANK_FETCH__TIMEOUT=5``. A list may be written with
commas: ``SAFERANK_FETCH__FILE_ROOTS=/srv/a,/srv/b``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    IPvAnyNetwork,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic import ValidationError as PydanticValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from saferank.errors import ConfigurationError, fault_of

SETTINGS_FILE = "saferank.toml"
_PREFIX = "SAFERANK_"


def variable_of(setting: str) -> str:
    """The environment variable of a setting, such as ``fetch.timeout``."""
    return f"{_PREFIX}{setting.replace('.', '__').upper()}"


_CREDENTIALS = re.compile(r"((?:^|(?<=;))(?:[a-z+]+://)?)[^;]*@|(?<=password=)[^&;]*")


def shown(address: str) -> str:
    """An address as messages and logs may show it: ``**`` stands for a user name and password."""
    return _CREDENTIALS.sub(lambda found: "**" if found[1] is None else f"{found[1]}**@", address)


class _Address(str):
    """An address whose ``repr``, as tracebacks print it, has no password."""

    def __repr__(self) -> str:
        return repr(shown(self))


Address = Annotated[str, AfterValidator(_Address)]
"""An address that may have a user name and a password in it."""


# Of a task's time; in the rest, what is scored is stored.
_PART_OF_TASK = 0.9


class Engine(StrEnum):
    """What searches."""

    ELASTICSEARCH = "elasticsearch"
    OPENSEARCH = "opensearch"


class FetchSettings(BaseModel):
    """Limits on fetching an image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: Annotated[
        PositiveFloat, Field(description="seconds for one image, look-up and redirects included")
    ] = 20.0
    max_bytes: Annotated[PositiveInt, Field(description="most bytes of one image")] = (
        32 * 1024 * 1024
    )
    max_redirects: Annotated[NonNegativeInt, Field(description="most redirects for one image")] = 5
    user_agent: Annotated[
        str, Field(description="User-Agent of workers; include a contact address")
    ] = "saferank"
    base_url: Annotated[
        str | None,
        Field(
            description="address of the page that references without a scheme belong to, such as "
            "`https://example.com/shop/`; paths of files then need `file:`"
        ),
    ] = None
    proxy: Annotated[
        Address | None,
        Field(description="proxy for http(s); it then decides which addresses may be reached"),
    ] = None
    per_host: Annotated[
        PositiveInt, Field(description="requests to one host at a time, of each worker process")
    ] = 4
    per_host_rate: Annotated[
        PositiveFloat | None,
        Field(description="requests a second to one host, of each worker process"),
    ] = None
    allow_private_addresses: Annotated[
        bool, Field(description="fetch from loopback and private networks, too")
    ] = False
    allowed_networks: Annotated[
        tuple[IPvAnyNetwork, ...],
        Field(description="networks that are always allowed, such as `10.1.0.0/16`"),
    ] = ()
    file_roots: Annotated[
        tuple[Path, ...], Field(description="folders that file references may point into")
    ] = ()
    stores: Annotated[
        tuple[str, ...], Field(description="fsspec protocols that may be read, such as `s3`")
    ] = ()

    @field_validator("user_agent")
    @classmethod
    def _fit_for_a_header(cls, user_agent: str) -> str:
        if user_agent != user_agent.strip() or not user_agent.isprintable():
            raise ValueError(
                f"{user_agent!r} cannot be sent: take out spaces at its ends and line breaks"
            )
        return user_agent

    @field_validator("base_url")
    @classmethod
    def _with_a_host(cls, base_url: str | None) -> str | None:
        if base_url is not None and not re.match(r"https?://[^/?#]", base_url):
            raise ValueError(f"{base_url!r} is not an http(s) address with a host")
        return base_url

    @field_validator("stores")
    @classmethod
    def _not_around_the_checks(cls, stores: tuple[str, ...]) -> tuple[str, ...]:
        for name in {"file", "local", "http", "https", "data"} & set(stores):
            raise ValueError(f"{name!r} is not a store; files are opened with fetch.file_roots")
        return stores


class DecodeSettings(BaseModel):
    """Limits on decoding an image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pixels: Annotated[
        PositiveInt, Field(description="most pixels, width × height, of an image and of each frame")
    ] = 50_000_000
    max_frames: Annotated[
        PositiveInt, Field(description="most frames of an animation or video that are scored")
    ] = 16
    max_frame_count: Annotated[
        PositiveInt, Field(description="most frames that an animation may have")
    ] = 10_000
    timeout: Annotated[PositiveFloat, Field(description="seconds for decoding one image")] = 20.0
    allow_partial: Annotated[
        bool, Field(description="score the part that is there of a file that ends early")
    ] = False


class IndexerSettings(BaseModel):
    """How workers score documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk_size: Annotated[
        PositiveInt, Field(description="documents in one task, of uploads and of backfills")
    ] = 64
    in_flight: Annotated[
        PositiveInt, Field(description="tasks of a job that are queued or in progress at a time")
    ] = 64
    batch_size: Annotated[PositiveInt, Field(description="frames in one call of the model")] = 4
    fetch_threads: Annotated[PositiveInt, Field(description="images fetched at once")] = 8
    threads: Annotated[
        PositiveInt,
        Field(
            description="threads of one process that decode images and run the model; a worker's "
            "has at most its share of the cores that the worker may use"
        ),
    ] = 1
    max_images: Annotated[
        PositiveInt, Field(description="images of one document; those beyond fail")
    ] = 256
    attempts: Annotated[
        PositiveInt, Field(description="tries after a transient error, before the error is stored")
    ] = 3
    retry_delay: Annotated[
        PositiveFloat, Field(description="seconds before the second try; doubles, with jitter")
    ] = 5.0
    host_patience: Annotated[
        PositiveFloat,
        Field(
            description="seconds a backfill waits for unreachable image hosts when all else is done"
        ),
    ] = 600.0
    store_patience: Annotated[
        PositiveFloat, Field(description="seconds a task waits for a busy Elasticsearch")
    ] = 60.0
    time_limit: Annotated[
        PositiveInt,
        Field(
            description="seconds for a task; then it is killed, and its documents are tried one "
            "by one"
        ),
    ] = 300
    child_memory_mb: Annotated[
        PositiveInt, Field(description="resident MB above which a child process is replaced")
    ] = 1500
    fresh_queue: Annotated[
        str, Field(description="queue of uploads, which workers empty first")
    ] = "saferank.fresh"
    backfill_queue: Annotated[str, Field(description="queue of backfills' and sweeps' tasks")] = (
        "saferank.backfill"
    )
    jobs_index: Annotated[str, Field(description="index of the job records")] = "saferank-jobs"
    images_index: Annotated[
        str | None,
        Field(description="index that stores the results of images, if you want one"),
    ] = None
    digests: Annotated[
        NonNegativeInt,
        Field(
            description="images that a worker's machine remembers by their bytes, so that "
            "they are not scored again in other documents and indices; 0 remembers none"
        ),
    ] = 1_000_000
    digests_file: Annotated[
        Path | None,
        Field(description="file that remembers them; by default in the user's cache folder"),
    ] = None
    sweep: Annotated[
        tuple[str, ...],
        Field(description="indices that Celery beat sweeps: their unscored documents are scored"),
    ] = ()
    sweep_every: Annotated[PositiveFloat, Field(description="seconds between sweeps")] = 300.0


class ReviewSettings(BaseModel):
    """Where people review documents, and who may."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_index: Annotated[
        str, Field(description="index that keeps every entry of the review log")
    ] = "saferank-review-log"
    work_index: Annotated[
        str, Field(description="index of the open work: who holds what, what was reported")
    ] = "saferank-review-work"
    opinions: Annotated[
        Literal[1, 2], Field(description="people who must agree before a document is settled")
    ] = 1
    lease: Annotated[
        PositiveFloat,
        Field(description="seconds for which a document is reserved for one reviewer"),
    ] = 300.0
    reason_for: Annotated[
        tuple[str, ...], Field(description="review queues in which a decision needs a reason")
    ] = ()
    show_fields: Annotated[
        tuple[str, ...],
        Field(description="source fields of a document that reviewers see, such as `title`"),
    ] = ()
    reviewers: Annotated[
        Path, Field(description="file of the reviewers, their tokens and roles")
    ] = Path("reviewers.toml")
    hosts: Annotated[
        tuple[str, ...],
        Field(
            description="host names under which browsers reach it, besides those of this machine"
        ),
    ] = ()
    user_header: Annotated[
        str | None,
        Field(description="header in which your single sign-on names the person, if you use one"),
    ] = None
    proxies: Annotated[
        tuple[IPvAnyNetwork, ...],
        Field(description="networks from which that header counts"),
    ] = ()

    @model_validator(mode="after")
    def _a_header_needs_a_proxy(self) -> Self:
        if self.user_header is not None and not self.proxies:
            raise ValueError(
                "review.user_header can be sent by anybody; name the addresses of your proxies "
                "with review.proxies"
            )
        return self


class GatewaySettings(BaseModel):
    """Who may ask the gateway, and how much at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    callers: Annotated[
        Path | None,
        Field(description="file of the known callers; without it, no caller is known"),
    ] = None
    require_caller: Annotated[
        bool,
        Field(
            description="refuse unknown callers, instead of answering them at the "
            "strictest level that a rule of the policy gives"
        ),
    ] = False
    max_body: Annotated[
        PositiveInt, Field(description="most bytes of a request's body, also once unpacked")
    ] = 10 * 1024 * 1024
    timeout: Annotated[
        PositiveFloat,
        Field(description="seconds for a call, all its requests to Elasticsearch together"),
    ] = 30.0
    read_timeout: Annotated[
        PositiveFloat, Field(description="seconds for a request's head, and for its body")
    ] = 10.0
    write_timeout: Annotated[
        PositiveFloat, Field(description="seconds for which a client may read nothing of an answer")
    ] = 30.0
    idle_timeout: Annotated[
        PositiveInt,
        Field(
            description="seconds for which a connection is kept between requests; must be longer "
            "than a proxy in front keeps it, or requests fail when it closes"
        ),
    ] = 75
    concurrency: Annotated[
        PositiveInt, Field(description="calls in progress at once, each on a separate connection")
    ] = 64
    waiting: Annotated[
        NonNegativeInt, Field(description="calls that wait for their turn; more get status 429")
    ] = 512
    per_caller: Annotated[
        PositiveInt,
        Field(description="calls of one caller in progress or waiting; more get status 429"),
    ] = 256
    connections: Annotated[
        PositiveInt, Field(description="open connections; more get status 503")
    ] = 4096
    origins: Annotated[
        tuple[str, ...],
        Field(
            description="origins of pages whose scripts may call it, such as `https://example.com`"
        ),
    ] = ()
    scroll_secret: Annotated[
        SecretStr | None,
        Field(
            min_length=1,
            description="signs scroll ids; the same long random text for all gateways behind one "
            "address. Without it each knows only its own scrolls",
        ),
    ] = None


class CategorySettings(BaseModel):
    """One kind of content that images are scored for."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="category")

    field: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]


CategoryName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class Settings(BaseSettings):
    """Everything an operator can set, with the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        toml_file=SETTINGS_FILE,
        extra="forbid",
        frozen=True,
    )

    engine: Annotated[
        Engine,
        Field(
            description="engine behind `elasticsearch_url`; with `opensearch`, settings "
            "named after Elasticsearch are OpenSearch's"
        ),
    ] = Engine.ELASTICSEARCH
    elasticsearch_url: Annotated[Address, Field(description="address of Elasticsearch")] = (
        "http://127.0.0.1:9200"
    )
    elasticsearch_api_key: Annotated[
        SecretStr | None, Field(description="API key for Elasticsearch, if it needs one")
    ] = None
    elasticsearch_user: Annotated[
        str | None, Field(description="user name for Elasticsearch, instead of an API key")
    ] = None
    elasticsearch_password: Annotated[
        SecretStr | None, Field(description="that user's password")
    ] = None
    elasticsearch_ca_certs: Annotated[
        FilePath | None,
        Field(description="PEM file of the authority that signed Elasticsearch's certificate"),
    ] = None
    broker_url: Annotated[
        Address,
        Field(description="Celery's broker: `redis://` (Valkey, too) or `amqp://` (RabbitMQ)"),
    ] = "redis://127.0.0.1:6379/0"
    broker_user: Annotated[
        str | None, Field(description="user name for the broker, when the address has none")
    ] = None
    broker_password: Annotated[
        SecretStr | None, Field(description="password for the broker, when the address has none")
    ] = None
    broker_ca_certs: Annotated[
        FilePath | None,
        Field(description="PEM file of the authority that signed the broker's certificate"),
    ] = None
    broker_options: Annotated[
        dict[str, Any],
        Field(description="Celery's `broker_transport_options`, such as Sentinel's `master_name`"),
    ] = {}
    model: Annotated[
        str,
        Field(
            description="a built-in name, or the path of a `model.toml`; with `#CATEGORY` at its "
            "end for one of its categories"
        ),
    ] = "open_nsfw"
    field: Annotated[str, Field(description="object field that holds the scores")] = "safety"
    categories: Annotated[
        dict[CategoryName, CategorySettings],
        Field(
            description="kinds of content, each with its `field` and `model`, when there are "
            "several; `field` and `model` above are then the first one's and left out"
        ),
    ] = {}
    override_field: Annotated[
        str | None,
        Field(description="object field of people's decisions, if it is a different one"),
    ] = None
    overrides: Annotated[
        str | None,
        Field(description="index of people's overrides outside the documents, if you use one"),
    ] = None
    known: Annotated[
        str | None,
        Field(description="index of known pictures, if decisions are to reach copies"),
    ] = None
    known_distance: Annotated[
        int,
        Field(
            ge=0,
            le=31,
            description="bits of 256 in which the PDQ hash of a near copy may differ from that of "
            "a known picture",
        ),
    ] = 31
    image_field: Annotated[
        str, Field(description="source field with the image reference, or a list of them")
    ] = "image"
    log_format: Annotated[
        Literal["text", "json"], Field(description="how workers log; `json` is one object a line")
    ] = "text"
    policy: Annotated[Path, Field(description="the safe-search policy")] = Path("policy.yaml")
    fetch: FetchSettings = FetchSettings()
    decode: DecodeSettings = DecodeSettings()
    indexer: IndexerSettings = IndexerSettings()
    review: ReviewSettings = ReviewSettings()
    gateway: GatewaySettings = GatewaySettings()

    @model_validator(mode="before")
    @classmethod
    def _of_the_first_category(cls, values: Any) -> Any:
        """Have what knows one category alone work on the first."""
        given = values.get("categories") if isinstance(values, dict) else None
        first = next(iter(given.values()), None) if isinstance(given, dict) else None
        if isinstance(first, CategorySettings):
            first = first.model_dump()
        if not isinstance(first, dict):
            return values
        own = {name: first[name] for name in ("field", "model") if name in first}
        for name, value in own.items():
            if values.get(name, value) != value:
                raise ValueError(
                    f"{name!r} says {values[name]!r}, and the first of the categories "
                    f"{value!r}; leave {name!r} out"
                )
        return {**values, **own}

    @model_validator(mode="after")
    def _categories_have_fields_of_their_own(self) -> Self:
        fields = [category.field for category in self.categories.values()]
        for place, one in enumerate(fields):
            for other in fields[:place]:
                if one == other or f"{one}.".startswith(f"{other}.") or other.startswith(f"{one}."):
                    raise ValueError(
                        f"categories: the fields {other!r} and {one!r} are the same or one is "
                        "inside the other; give each category an object of its own"
                    )
        return self

    @model_validator(mode="after")
    def _an_image_fits_into_a_task(self) -> Self:
        if self.seconds_to_start <= 0:
            needed = (self.fetch.timeout + self.decode.timeout) / _PART_OF_TASK
            raise ValueError(
                f"indexer.time_limit of {self.indexer.time_limit} s is too short for one image: "
                f"fetch.timeout and decode.timeout need more than {needed:.0f} s"
            )
        return self

    @property
    def model_by_field(self) -> dict[str, str]:
        """The model of each object field that scores go into; the first category's comes first."""
        several = {each.field: each.model for each in self.categories.values()}
        return several or {self.field: self.model}

    def of_category(self, name: str) -> Settings:
        """The settings for one category alone.

        Overrides that are kept outside of the documents are left out where they say nothing about
        it: they are about the first category, or with ``override_field`` about all.

        Raises:
            ConfigurationError: there is none of that name.
        """
        if (found := self.categories.get(name)) is None:
            named = ", ".join(self.categories) or "none is named"
            raise ConfigurationError(
                f"there is no category {name!r} in the settings ({named}); see SAFERANK_CATEGORIES"
            )
        alone = {"field": found.field, "model": found.model, "categories": {name: found}}
        overrides = self.overrides if self.decides_about(name) else None
        return self.model_copy(update={**alone, "overrides": overrides})

    def decides_about(self, category: str) -> bool:
        """Whether what people decide about a document says anything about this category."""
        return self.override_field is not None or category == next(iter(self.categories), None)

    @property
    def seconds_to_start(self) -> float:
        """For how long a task may start on images, so that it ends before its time limit."""
        one_image = self.fetch.timeout + self.decode.timeout
        return _PART_OF_TASK * self.indexer.time_limit - one_image

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, file."""
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls)


class _Environment(EnvSettingsSource):
    """Environment variables; a list is JSON, or its items with commas between them."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read what is no JSON as a list; whether it may be one is said when it is checked.

        Raises:
            ConfigurationError: it was meant to be JSON.
        """
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError as error:
            if value.lstrip().startswith(("[", "{")):
                raise ConfigurationError(
                    f"setting {field_name!r}: {value!r} is not JSON ({error}); a list may also be "
                    "written with commas: a,b"
                ) from error
            return [item.strip() for item in value.split(",")]


# How alike a variable is to that of a setting if it was meant to be that one. Others may be there
# for a reason: Kubernetes makes SAFERANK_GATEWAY_PORT of a service's name.
_MISSPELT = 0.94


def variables() -> Iterator[str]:
    """The environment variable of each setting, and of each group of them."""
    return map(variable_of, _names(Settings))


def _names(kind: type[BaseModel], group: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield group + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{group}{name}.")


def _check_spelling(named: Iterable[str]) -> None:
    """See that no variable was meant to be another's: nothing else would ever say so.

    Raises:
        ConfigurationError: one is nearly the name of a setting.
    """
    known = list(variables())
    for name in named:
        if name.startswith(_PREFIX) and name.upper() not in known:
            close = get_close_matches(name, known, n=1, cutoff=_MISSPELT)
            if close and not name.startswith(f"{close[0]}__"):
                raise ConfigurationError(f"there is no setting {name}; did you mean {close[0]}?")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the settings once.

    Raises:
        ConfigurationError: a setting is unknown or out of range, or the file cannot be read.
    """
    _check_spelling(os.environ)
    try:
        return Settings()
    except PydanticValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = f"setting {name!r}" if name else "settings"  # none: they contradict each other
        fault = fault_of(where, first["type"], first["msg"])
        raise ConfigurationError(f"{fault}; set SAFERANK_* or {SETTINGS_FILE}") from error
    except (SettingsError, tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the settings cannot be read: {error}; see SAFERANK_* and {SETTINGS_FILE}"
        ) from error
