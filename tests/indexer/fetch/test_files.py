"""File references lead into the allowed folders and nowhere else."""

import os
import threading
from pathlib import Path

import pytest

from saferank.errors import ImageError
from saferank.indexer.fetch import Fetcher
from saferank.settings import FetchSettings


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"inside")
    (root / "sub" / "Übung 日本 100%.jpg").write_bytes(b"named")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images-other").mkdir()
    (tmp_path / "images-other" / "a.jpg").write_bytes(b"secret")
    return root


def fetch(root, reference, **settings):
    with Fetcher(FetchSettings(file_roots=(root,), **settings)) as fetcher:
        return fetcher.fetch(str(reference)).data


def code_of(root, reference, **settings):
    with pytest.raises(ImageError) as caught:
        fetch(root, reference, **settings)
    assert caught.value.reference == str(reference)
    return caught.value.code


def test_urls_and_paths(folders):
    assert fetch(folders, f"file://{folders}/a.jpg") == b"inside"
    assert fetch(folders, f"file://localhost{folders}/a.jpg") == b"inside"
    assert fetch(folders, folders / "a.jpg") == b"inside"
    assert fetch(folders, "a.jpg") == b"inside"
    assert fetch(folders, "sub/../a.jpg") == b"inside"


def test_names_outside_ascii(folders):
    name = folders / "sub" / "Übung 日本 100%.jpg"
    assert fetch(folders, name) == b"named"
    assert fetch(folders, name.as_uri()) == b"named"
    assert fetch(folders, "sub/Übung 日本 100%.jpg") == b"named"


def test_names_that_are_no_text(folders):
    name = os.fsencode(folders) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(name)).write_bytes(b"raw")
    assert fetch(folders, f"file://{folders}/%FF%FE.jpg") == b"raw"


def test_paths_out_of_the_folder(folders):
    outside = folders.parent
    assert code_of(folders, outside / "secret") == "forbidden_address"
    assert code_of(folders, "../secret") == "forbidden_address"
    assert code_of(folders, f"file://{folders}/../secret") == "forbidden_address"
    assert code_of(folders, f"file://{folders}/%2e%2e/secret") == "forbidden_address"
    assert code_of(folders, outside / "images-other" / "a.jpg") == "forbidden_address"
    assert code_of(folders, f"file://server{folders}/a.jpg") == "forbidden_address"
    assert code_of(folders, "file:///etc/passwd") == "forbidden_address"


def test_nothing_outside_is_told(folders):
    """Whether a file outside exists or not, the answer is the same."""
    assert code_of(folders, folders.parent / "no-such-file") == "forbidden_address"
    assert code_of(folders, "../no-such-file") == "forbidden_address"


def test_links_may_not_lead_out(folders):
    (folders / "out.jpg").symlink_to(folders.parent / "secret")
    (folders / "out").symlink_to(folders.parent)
    (folders / "loop").symlink_to(folders / "loop")
    (folders / "in.jpg").symlink_to(folders / "a.jpg")
    assert code_of(folders, "out.jpg") == "forbidden_address"
    assert code_of(folders, "out/secret") == "forbidden_address"
    assert code_of(folders, "loop") == "not_found"
    assert fetch(folders, "in.jpg") == b"inside"


def test_a_link_swapped_in_meanwhile_does_not_lead_out(folders):
    """The path is checked and then opened: between the two, somebody swaps a folder."""
    (folders / "outward").symlink_to(folders.parent)
    (folders / "turn").mkdir()
    (folders / "turn" / "secret").write_bytes(b"inside")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            (folders / "turn").rename(folders / "kept")
            (folders / "outward").rename(folders / "turn")
            (folders / "turn").rename(folders / "outward")
            (folders / "kept").rename(folders / "turn")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        with Fetcher(FetchSettings(file_roots=(folders,))) as fetcher:
            for _ in range(3000):
                try:
                    seen.add(fetcher.fetch("turn/secret").data)
                except ImageError as error:
                    seen.add(str(error.code))
    finally:
        stop.set()
        swapper.join()
    assert seen <= {b"inside", "forbidden_address", "not_found", "refused"}
    assert b"inside" in seen


def test_what_is_not_a_plain_file(folders):
    os.mkfifo(folders / "pipe")
    assert code_of(folders, "sub") == "refused"
    assert code_of(folders, "pipe") == "refused"
    assert code_of(folders, "missing.jpg") == "not_found"
    assert code_of(folders, folders / "missing.jpg") == "not_found"
    assert code_of(folders, "a.jpg/b.jpg") == "not_found"
    assert code_of(folders, "a\0.jpg") == "not_found"
    assert code_of(folders, "n" * 5000) == "refused"


def test_the_size_limit_is_inclusive(folders):
    assert fetch(folders, "a.jpg", max_bytes=6) == b"inside"
    assert code_of(folders, "a.jpg", max_bytes=5) == "too_large"


def test_files_are_off_unless_folders_are_named(folders):
    with Fetcher(FetchSettings()) as fetcher:
        for reference in (f"file://{folders}/a.jpg", str(folders / "a.jpg"), "a.jpg"):
            with pytest.raises(ImageError, match=r"fetch\.file_roots") as caught:
                fetcher.fetch(reference)
            assert caught.value.code == "unsupported_reference"


def test_several_folders(folders, tmp_path):
    second = tmp_path / "images-other"
    (second / "b.jpg").write_bytes(b"second")
    with Fetcher(FetchSettings(file_roots=(folders, second))) as fetcher:
        assert fetcher.fetch("a.jpg").data == b"inside"
        assert fetcher.fetch("b.jpg").data == b"second"
        assert fetcher.fetch(str(second / "a.jpg")).data == b"secret"
