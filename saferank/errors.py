"""Every error saferank raises on purpose, and the codes stored with a document that failed.

    SaferankError
    ├── ConfigurationError      a setting, a model description or a command's argument is wrong
    ├── ModelError              a classifier cannot be used
    │   ├── ModelNotFound       its files are not where they were said to be
    │   ├── ModelFormatError    its files cannot be read, or contradict each other
    │   └── UnsupportedLayer    it has a layer that cannot be converted faithfully
    ├── ImageError              one image has no probability; carries an ErrorCode
    ├── PolicyError             the policy file is wrong; carries file and line
    │   └── ContextError        a request's context does not fit the policy
    ├── UnsafeRequest           a request part that cannot be made safe; carries its key
    ├── MappingError            an index lacks the safety fields, or has them differently
    │   └── DocumentNotFound    an index has no document of that id
    ├── ServiceUnavailable      Elasticsearch or the broker does not answer
    └── JobError                a backfill, a reindex or a training by several cannot go on

A message is one sentence or two: what was wrong, where, and what to do.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


def shortened(value: object) -> str:
    """A value as it stands in a message: what a person reads of it, however large or deep it is."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200


class SaferankWarning(UserWarning):
    """Something that works but is probably not what was meant."""


class SaferankError(Exception):
    """Base of all errors that saferank raises on purpose."""


class ConfigurationError(SaferankError):
    """A setting, a model description or an argument is wrong."""


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Say which extra to install when an import inside fails.

    Args:
        what: that needs it, as a sentence begins with it.
        extra: name of the extra.

    Raises:
        ConfigurationError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("saferank"):
            raise
        raise ConfigurationError(
            f"{what} needs {error.name!r}, which is not installed: pip install 'saferank[{extra}]'"
        ) from error


class ModelError(SaferankError):
    """A classifier cannot be used."""


class ModelNotFound(ModelError):
    """The files of a model are not where they were said to be."""


class ModelFormatError(ModelError):
    """The files of a model cannot be read, or contradict each other."""


class UnsupportedLayer(ModelError):
    """The network has a layer that cannot be converted faithfully."""


class PolicyError(SaferankError):
    """The policy file is wrong.

    Attributes:
        path: the file, or None when the policy did not come from a file.
        line: 1-based line of the fault, or None when no line is at fault.
    """

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        self.path = path
        self.line = line
        where = f"line {line}" if path is None and line is not None else path
        if path is not None and line is not None:
            where = f"{path}:{line}"
        super().__init__(f"{where}: {message}" if where else message)


class ContextError(PolicyError):
    """A request's context names an attribute or a level that the policy does not know."""


class UnsafeRequest(SaferankError):
    """A part of a request that cannot be made safe; it was not sent.

    Attributes:
        key: dotted path of the part in the request body, for example ``aggs.all.global``.
        reason: why, and what to do instead.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"request part {key!r} was refused: {reason}")


class MappingError(SaferankError):
    """An index lacks the safety fields, or maps them differently."""


class DocumentNotFound(MappingError):
    """An index has no document of that id, or not without its routing."""


class ServiceUnavailable(SaferankError):
    """Elasticsearch or the broker does not answer."""


class JobError(SaferankError):
    """A backfill, a reindex or a training by several processes cannot continue."""


class ErrorCode(StrEnum):
    """Why an image has no probability, as stored in ``safety.error``.

    A code never changes its meaning. ``transient`` says whether trying again can help;
    ``docs/reference/error-codes.md`` says what an operator does about each.
    """

    transient: bool
    meaning: str

    def __new__(cls, value: str, transient: bool, meaning: str) -> ErrorCode:
        """Make a member whose value is the code itself."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.transient = transient
        member.meaning = meaning
        return member

    UNREACHABLE = (
        "unreachable",
        True,
        "the server did not answer, or answered with an error of its own",
    )
    NOT_FOUND = (
        "not_found",
        False,
        "the server or the store says that there is no such image",
    )
    FORBIDDEN_ADDRESS = (
        "forbidden_address",
        False,
        "the reference leads to an address or a path that is not allowed",
    )
    REFUSED = (
        "refused",
        False,
        "the server or the store has the image but does not give it",
    )
    RATE_LIMITED = (
        "rate_limited",
        True,
        "the server asked for fewer requests",
    )
    TOO_MANY_REDIRECTS = (
        "too_many_redirects",
        False,
        "the server led from address to address more often than allowed",
    )
    UNSUPPORTED_REFERENCE = (
        "unsupported_reference",
        False,
        "the reference is malformed, or of a kind that is not switched on",
    )
    TOO_LARGE = (
        "too_large",
        False,
        "more bytes, pixels or frames than the limits allow",
    )
    TOO_MANY_IMAGES = (
        "too_many_images",
        False,
        "the document has more images than the limit allows, and this one is beyond it",
    )
    NOT_AN_IMAGE = (
        "not_an_image",
        False,
        "the bytes are not an image of a format that can be read",
    )
    KIND_NOT_READ = (
        "kind_not_read",
        False,
        "a drawing, a document, a film or another kind of medium that is not read here",
    )
    TRUNCATED = (
        "truncated",
        False,
        "the image ends before it is complete",
    )
    UNREADABLE = (
        "unreadable",
        False,
        "the format is known, but the image is damaged or uses an unsupported feature",
    )
    TIMEOUT = (
        "timeout",
        True,
        "fetching took longer than allowed",
    )
    DECODE_TIMEOUT = (
        "decode_timeout",
        False,
        "decoding took longer than allowed",
    )
    WORKER_LOST = (
        "worker_lost",
        False,
        "the image crashed its worker process twice",
    )
    INTERNAL = (
        "internal",
        True,
        "a fault of saferank's own; the log has the details",
    )


def fault_of(where: str, kind: str, said: str) -> str:
    """One fault of a file that pydantic checked, as a message says it.

    Args:
        where: the key, from the top.
        kind: pydantic's type of the fault.
        said: pydantic's own words, for the faults that have none here.
    """
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where}: there is no such key"
    return f"{where}: {said.removeprefix('Value error, ')}"


class ImageError(SaferankError):
    """One image has no probability.

    Attributes:
        code: the stable code to store.
        reference: what the document called the image, if known.
        retry_after: seconds that the server asked to wait before another try, if it did.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        reference: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.reference = reference
        self.retry_after = retry_after
        super().__init__(message)
