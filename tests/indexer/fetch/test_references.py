"""Which references are understood, and images that are in their own reference or in a store."""

import base64
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from saferank.errors import ImageError
from saferank.indexer.fetch import Fetcher
from saferank.indexer.fetch.data_uri import read_data_uri
from saferank.settings import FetchSettings


def fetch(reference, **limits):
    with Fetcher(FetchSettings(**limits)) as fetcher:
        return fetcher.fetch(reference).data


def code_of(reference, **limits):
    with pytest.raises(ImageError) as caught:
        fetch(reference, **limits)
    return caught.value.code


@given(st.binary(max_size=60))
def test_data_uris(data):
    text = base64.b64encode(data).decode()
    for reference in (
        f"data:image/png;base64,{text}",
        f"DATA:;charset=x;BASE64,{text}",
        f"data:;base64,{text.rstrip('=')}",
        f"data:;base64,{text[:7]} \n{text[7:]}",
        f"data:;base64,{text.replace('+', '%2B').replace('=', '%3D')}",
        "data:," + "".join(f"%{byte:02x}" for byte in data),
    ):
        assert read_data_uri(reference, 1000) == data


@pytest.mark.parametrize("reference", ["data:image/png;base64", "data:;base64,!!!!", "data:"])
def test_malformed_data_uris(reference):
    assert code_of(reference) == "unsupported_reference"


def test_data_uris_have_the_size_limit_too():
    assert fetch("data:;base64,YWJjZGVm", max_bytes=6) == b"abcdef"
    assert code_of("data:;base64,YWJjZGVm", max_bytes=5) == "too_large"
    assert code_of("data:," + "a" * 100, max_bytes=5) == "too_large"


@pytest.mark.parametrize(
    "reference",
    [
        "ftp://example.com/a.jpg",
        "gopher://127.0.0.1/",
        "s3://bucket/a.jpg",
        "javascript:alert(1)",
        "",
        "   ",
        "http://",
        "http:///",
        "http://[::1",
        "http://example.com:99999/",
        "https://exa mple.com/",
        "http://ex\0ample.com/",
        "http://" + "a" * 300 + ".com/",
        "//example.com/a.jpg",
    ],
)
def test_references_that_are_not_understood(reference):
    assert code_of(reference) == "unsupported_reference"


@settings(max_examples=20)
@given(st.lists(st.text(max_size=30), max_size=20))
def test_any_text_is_a_reference_or_a_coded_error(texts):
    """Nothing but ImageError leaves the fetcher. (Nothing is resolved: there is no network.)"""

    def nowhere(host, port):
        raise OSError("no such host")

    with Fetcher(FetchSettings(), resolver=nowhere) as fetcher:
        prefixes = ("", "http://", "https://example.com:", "data:", "file:")
        for prefix, text in product(prefixes, texts):
            with suppress(ImageError):
                fetcher.fetch(prefix + text)


@pytest.fixture
def memory_store():
    fsspec = pytest.importorskip("fsspec", reason="the extra 'stores' is not installed")
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/ü.jpg", b"stored")
    yield
    store.rm("/bucket", recursive=True)


@pytest.mark.usefixtures("memory_store")
def test_stores_that_are_switched_on():
    assert fetch("memory://bucket/ü.jpg", stores=("memory",)) == b"stored"
    assert code_of("memory://bucket/none", stores=("memory",)) == "not_found"
    assert code_of("memory://bucket/ü.jpg", stores=("memory",), max_bytes=5) == "too_large"


@pytest.mark.usefixtures("memory_store")
def test_stores_that_are_not():
    assert code_of("memory://bucket/ü.jpg") == "unsupported_reference"
    assert code_of("memory://bucket/ü.jpg", stores=("s3",)) == "unsupported_reference"
    # fsspec would chain protocols: one that is on must not open one that is off
    assert code_of("memory::file:///etc/passwd", stores=("memory",)) == "unsupported_reference"
    assert (
        code_of("simplecache::memory://bucket/ü.jpg", stores=("memory",)) == "unsupported_reference"
    )


@pytest.mark.parametrize("name", ["file", "local", "http", "data"])
def test_a_store_cannot_get_around_the_checks(name):
    with pytest.raises(ValidationError, match="is not a store"):
        FetchSettings(stores=("s3", name))
