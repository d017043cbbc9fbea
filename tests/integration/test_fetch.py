"""Fetching over real sockets from servers that mean no good."""

from __future__ import annotations

import datetime
import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from itertools import pairwise

import pytest
import trustme

from saferank.errors import ImageError
from saferank.indexer.decode import decode
from saferank.indexer.fetch import Fetcher
from saferank.settings import DecodeSettings, FetchSettings


class Server:
    """A TCP server whose every exchange is scripted: ``answer(request) -> bytes`` or a stream.

    Attributes:
        requests: the request heads received, in order.
        connections: how many were accepted.
    """

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family)
        self._tls = tls
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[str] = []
        self.connections = 0
        self.paths: dict[str, bytes | Callable[[socket.socket], None]] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            with client:
                buffer = b""
                while True:
                    while b"\r\n\r\n" not in buffer:
                        received = client.recv(65536)
                        if not received:
                            return
                        buffer += received
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    self.requests.append(head.decode("latin-1"))
                    answer = self.paths[head.split()[1].decode("latin-1")]
                    if callable(answer):
                        answer(client)
                        return
                    client.sendall(answer)
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


def response(body: bytes = b"image", status: str = "200 OK", **headers: str) -> bytes:
    lines = {"Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


LOCAL = {"allow_private_addresses": True}


@contextmanager
def fetching(**limits: object) -> Iterator[Fetcher]:
    with Fetcher(FetchSettings.model_validate(LOCAL | limits)) as fetcher:
        yield fetcher


def failure(server: Server, answer: object, path: str = "/", **limits: object) -> ImageError:
    server.paths[path] = answer  # type: ignore[assignment]
    with fetching(**limits) as fetcher, pytest.raises(ImageError) as caught:
        fetcher.fetch(f"http://127.0.0.1:{server.port}{path}")
    return caught.value


# What a well-behaved exchange looks like


def test_an_image_comes_with_its_validators(server):
    server.paths["/"] = response(b"\xff\xd8", ETag='"v1"', Last_Modified="yesterday")
    with fetching(user_agent="tester/1") as fetcher:
        fetched = fetcher.fetch(f"http://127.0.0.1:{server.port}/")
    assert fetched.data == b"\xff\xd8"
    assert (fetched.etag, fetched.last_modified) == ('"v1"', "yesterday")
    (request,) = server.requests
    assert "user-agent: tester/1" in request.lower()
    assert "accept-encoding: identity" in request.lower()
    assert f"host: 127.0.0.1:{server.port}" in request.lower()


def test_connections_are_kept(server):
    server.paths["/"] = response()
    with fetching() as fetcher:
        for _ in range(5):
            fetcher.fetch(f"http://127.0.0.1:{server.port}/")
    assert (len(server.requests), server.connections) == (5, 1)


def test_an_unchanged_image_is_not_sent_again(server):
    server.paths["/"] = response(b"", "304 Not Modified", Content_Length="")
    with fetching() as fetcher:
        url = f"http://127.0.0.1:{server.port}/"
        assert fetcher.fetch_if_changed(url, etag='"v1"', last_modified="then") is None
        assert 'if-none-match: "v1"' in server.requests[0].lower()
        assert "if-modified-since: then" in server.requests[0].lower()
        server.paths["/"] = response(b"new", ETag='"v2"')
        changed = fetcher.fetch_if_changed(url, etag='"v1"')
        assert changed is not None
        assert (changed.data, changed.etag) == (b"new", '"v2"')


@pytest.mark.parametrize(
    "validator",
    [
        '"a\nb"',
        '"a\r\nX: y"',
        ' "a"',
        '"a" ',
        "\t",
        "\0",
        '"\x7f"',
        '"\u0101"',
        '"' + 256 * "a" + '"',
    ],
)
def test_a_validator_that_no_server_has_sent_is_not_sent_back(server, validator):
    """It would count against the host, for a fault that is the document's."""
    server.paths["/"] = response(b"whole")
    with fetching() as fetcher:
        url = f"http://127.0.0.1:{server.port}/"
        for _ in range(4):  # one more than makes a host count as away
            fetched = fetcher.fetch_if_changed(url, etag=validator, last_modified=validator)
            assert fetched is not None
            assert fetched.data == b"whole"
    assert not [request for request in server.requests if "if-" in request.lower()]


def test_an_uncalled_for_not_modified_is_an_error(server):
    answer = response(b"", "304 Not Modified", Content_Length="")
    assert failure(server, answer).code == "unreachable"


def test_names_outside_ascii(server):
    server.paths["/%C3%BC%20b.jpg?q=%E6%97%A5"] = response(b"named")
    with fetching() as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/ü b.jpg?q=日").data == b"named"


@pytest.mark.parametrize(
    ("name", "looked_up"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("日本。example", "xn--wgv71a.example"),
        ("☃.example", "xn--n3h.example"),
        ("👍🏽.example", "xn--on8h5e.example"),
        ("-ü-.example", "xn-----xka.example"),
        ("an_ü.example", "xn--an_-joa.example"),
        ("\uff45x.example", "ex.example"),
    ],
)
def test_hosts_in_any_alphabet(server, name, looked_up):
    """As browsers look them up, and not as IDNA 2008 would have it, which knows no symbols."""
    server.paths["/a.jpg"] = response(b"here")
    names = []

    def resolver(host: str, port: int) -> list[str]:
        names.append(host)
        return ["127.0.0.1"]

    with Fetcher(FetchSettings(allow_private_addresses=True), resolver=resolver) as fetcher:
        assert fetcher.fetch(f"http://{name}:{server.port}/a.jpg").data == b"here"
        server.paths["/to"] = response(b"", "302 Found", Location="/a.jpg")
        assert fetcher.host_of(f"http://{name}/") == looked_up
    assert names == [looked_up]
    assert f"host: {looked_up}:{server.port}" in server.requests[0].lower()


def test_a_redirect_to_a_host_and_a_path_in_utf_8(server):
    target = f"http://127.0.0.1:{server.port}/ü.jpg".encode().decode("latin-1")
    server.paths |= {
        "/": response(b"", "302 Found", Location=target),
        "/%C3%BC.jpg": response(b"there"),
    }
    with fetching() as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/").data == b"there"


@pytest.mark.parametrize(
    "host",
    ["", "a\uff0fb", "a%2Fb", "a%40b", "a%20b", "a\uff20b", "%00", "a%", "a%ff", "xn--\ud800"],
)
def test_what_is_no_host(server, host):
    with fetching() as fetcher, pytest.raises(ImageError) as caught:
        fetcher.fetch(f"http://{host}:{server.port}/")
    assert caught.value.code == "unsupported_reference"
    assert fetcher.host_of(f"http://{host}:{server.port}/") == ""


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:{port}/a/b.jpg",
        " \thttp://127.0.0.1:{port}/a/b.jpg\n",
        "HTTP://127.0.0.1:{port}/a/b.jpg#part",
        "http:/\\127.0.0.1:{port}\\a\\b.jpg",
        "http:127.0.0.1:{port}/a/b.jpg",
        "http:////127.0.0.1:{port}/a/b.jpg",
        "http://127.0.0.1:{port}/a/\t\nb.jpg",
    ],
)
def test_addresses_as_browsers_read_them(server, reference):
    server.paths["/a/b.jpg"] = response(b"here")
    with fetching() as fetcher:
        assert fetcher.fetch(reference.format(port=server.port)).data == b"here"


@pytest.mark.parametrize(
    "reference",
    ["/shop/a.jpg", "a.jpg", "./a.jpg", "../shop/a.jpg", "//127.0.0.1:{port}/shop/a.jpg",
     "http://127.0.0.1:{port}/shop/a.jpg", "\\shop\\a.jpg", "/shop/x/../a.jpg#part"],
)  # fmt: skip
def test_references_beside_a_base(server, reference):
    server.paths["/shop/a.jpg"] = response(b"here")
    base = f"http://127.0.0.1:{server.port}/shop/page.html"
    with fetching(base_url=base, file_roots=("/",)) as fetcher:
        assert fetcher.fetch(reference.format(port=server.port)).data == b"here"
        assert fetcher.host_of(reference.format(port=server.port)) == "127.0.0.1"


@pytest.mark.parametrize("reference", ["data:,a", " DATA:image/png;base64,AA=="])
def test_an_image_inside_its_reference_has_no_host(reference):
    with fetching(base_url="http://127.0.0.1/") as fetcher:
        assert fetcher.host_of(reference) is None
        assert fetcher.host_of("data") == "127.0.0.1"


def test_beside_a_base_files_need_their_scheme(tmp_path, server):
    (tmp_path / "a.jpg").write_bytes(b"file")
    base = f"http://127.0.0.1:{server.port}/"
    with fetching(base_url=base, file_roots=(tmp_path,)) as fetcher:
        assert fetcher.fetch((tmp_path / "a.jpg").as_uri()).data == b"file"


def test_an_address_relative_to_a_forbidden_one_is_not_connected_to(server):
    with (
        Fetcher(FetchSettings(base_url=f"http://127.0.0.1:{server.port}/")) as fetcher,
        pytest.raises(ImageError) as caught,
    ):
        fetcher.fetch("/a.jpg")
    assert (caught.value.code, server.connections) == ("forbidden_address", 0)


def test_ipv6_literals():
    server = Server("::1")
    server.paths["/"] = response(b"six")
    with fetching() as fetcher:
        assert fetcher.fetch(f"http://[::1]:{server.port}/").data == b"six"
    assert f"host: [::1]:{server.port}" in server.requests[0].lower()
    server.close()


@pytest.mark.parametrize("target", ["/b", "//127.0.0.1:{port}/b", "http://127.0.0.1:{port}/b"])
def test_redirects_are_followed(server, target):
    location = target.format(port=server.port)
    server.paths |= {"/a": response(b"", "302 Found", Location=location), "/b": response(b"there")}
    with fetching() as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/a").data == b"there"


# Addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "127.1",
        "0",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "user:password@127.0.0.1",
    ],
)
def test_forms_of_a_forbidden_address(server, host):
    server.paths["/"] = response()
    with Fetcher(FetchSettings()) as fetcher, pytest.raises(ImageError) as caught:
        fetcher.fetch(f"http://{host}:{server.port}/")
    assert caught.value.code == "forbidden_address"
    assert server.connections == 0


@pytest.mark.parametrize("host", ["0177.0.0.1", "127.0.0.1.", "①②⑦.⓪.⓪.①"])
def test_forms_that_are_no_address_at_all(server, host):
    server.paths["/"] = response()
    with Fetcher(FetchSettings()) as fetcher, pytest.raises(ImageError) as caught:
        fetcher.fetch(f"http://{host}:{server.port}/")
    assert caught.value.code in ("forbidden_address", "unreachable", "unsupported_reference")
    assert server.connections == 0


def test_a_redirect_to_a_forbidden_address(server):
    """The first host is allowed, the second is not: nothing must reach it."""
    inside = Server()
    inside.paths["/"] = response(b"secret")
    target = f"http://127.0.0.2:{inside.port}/"
    server.paths["/"] = response(b"", "302 Found", Location=target)
    with (
        Fetcher(FetchSettings(allowed_networks=("127.0.0.1/32",))) as fetcher,
        pytest.raises(ImageError) as caught,
    ):
        fetcher.fetch(f"http://127.0.0.1:{server.port}/")
    assert caught.value.code == "forbidden_address"
    assert (len(server.requests), inside.connections) == (1, 0)
    inside.close()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "data:,x", "ftp://[::1]/", "s3:x"])
def test_a_redirect_to_another_scheme(server, target):
    answer = response(b"", "302 Found", Location=target)
    assert failure(server, answer, file_roots=("/etc",)).code == "forbidden_address"


class Resolver:
    """Answers each look-up with the next of the given addresses."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def test_a_name_that_changes_its_address_after_the_check(server):
    """The classic: a public address for the check, a private one for the connection.

    There is one look-up only, and the connection goes to what it said: so it goes to
    127.0.0.1, which is what was checked, and never to 127.0.0.2.
    """
    inside = socket.create_server(("127.0.0.2", server.port))
    server.paths["/"] = response(b"checked")
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    settings = FetchSettings(allowed_networks=("127.0.0.1/32",))
    with Fetcher(settings, resolver=resolver) as fetcher:
        fetched = fetcher.fetch(f"http://rebind.example:{server.port}/")
    assert fetched.data == b"checked"
    assert resolver.asked == 1
    assert f"host: rebind.example:{server.port}" in server.requests[0].lower()
    inside.settimeout(0.0)
    with pytest.raises(BlockingIOError):
        inside.accept()
    inside.close()


def test_a_name_that_changes_its_address_between_connections(server):
    server.paths["/"] = response(b"checked", Connection="close")
    settings = FetchSettings(allowed_networks=("127.0.0.1/32",))
    with Fetcher(settings, resolver=Resolver(["127.0.0.1"], ["127.0.0.2"])) as fetcher:
        fetcher.fetch(f"http://rebind.example:{server.port}/")
        with pytest.raises(ImageError) as caught:
            fetcher.fetch(f"http://rebind.example:{server.port}/")
    assert caught.value.code == "forbidden_address"


def test_one_forbidden_address_among_several_is_enough(server):
    resolver = Resolver(["127.0.0.1", "169.254.169.254"])
    settings = FetchSettings(allowed_networks=("127.0.0.1/32",))
    with Fetcher(settings, resolver=resolver) as fetcher, pytest.raises(ImageError) as caught:
        fetcher.fetch(f"http://mixed.example:{server.port}/")
    assert caught.value.code == "forbidden_address"
    assert server.connections == 0


def test_the_next_address_is_tried_when_one_does_not_answer(server):
    server.paths["/"] = response(b"second")
    with Fetcher(FetchSettings(**LOCAL), resolver=Resolver(["127.0.0.9", "127.0.0.1"])) as fetcher:
        assert fetcher.fetch(f"http://two.example:{server.port}/").data == b"second"


@pytest.mark.parametrize("outcome", [OSError("no such name"), []])
def test_a_name_that_leads_nowhere(outcome):
    def resolve(host: str, port: int) -> list[str]:
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    with (
        Fetcher(FetchSettings(), resolver=resolve) as fetcher,
        pytest.raises(ImageError) as caught,
    ):
        fetcher.fetch("http://nowhere.example/")
    assert caught.value.code == "unreachable"
    assert caught.value.reference == "http://nowhere.example/"


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with fetching() as fetcher, pytest.raises(ImageError) as caught:
        fetcher.fetch(f"http://127.0.0.1:{port}/")
    assert caught.value.code == "unreachable"


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.paths["/"] = response(b"direct")
    with fetching() as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/").data == b"direct"


def test_a_proxy_of_the_settings_is_used(server):
    server.paths["http://somewhere.example/a.jpg"] = response(b"by proxy")
    with Fetcher(FetchSettings(proxy=f"http://127.0.0.1:{server.port}")) as fetcher:
        assert fetcher.fetch("http://somewhere.example/a.jpg").data == b"by proxy"


# Amounts


def test_a_declared_length_beyond_the_limit_is_not_read(server):
    def endless(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        client.recv(1)  # until the other side hangs up

    assert failure(server, endless).code == "too_large"


def pour(client: socket.socket, head: bytes, chunk: bytes) -> None:
    client.sendall(head)
    while True:
        client.sendall(chunk)


def test_an_endless_body(server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n"
    answer = lambda client: pour(client, head, b"x" * 65536)  # noqa: E731
    assert failure(server, answer, max_bytes=1_000_000).code == "too_large"


def test_an_endless_body_in_chunks(server):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = lambda client: pour(client, head, b"1000\r\n" + b"x" * 4096 + b"\r\n")  # noqa: E731
    assert failure(server, answer, max_bytes=1_000_000).code == "too_large"


def test_an_endless_head(server):
    answer = lambda client: pour(client, b"HTTP/1.1 200 OK\r\n", b"X-More: of it\r\n")  # noqa: E731
    assert failure(server, answer).code == "unreachable"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_packed_body_counts_unpacked(server, encoding):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    server.paths["/"] = response(pack(b"x" * 1000), Content_Encoding=encoding)
    with fetching(max_bytes=1000) as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/").data == b"x" * 1000
    bomb = response(pack(b"\0" * 100_000_000), Content_Encoding=encoding)
    assert failure(server, bomb, max_bytes=1_000_000).code == "too_large"


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


TEXT = b"".join(b"%d " % number for number in range(50_000))
HALVES = gzip.compress(TEXT[:100_000]) + gzip.compress(TEXT[100_000:])


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", TEXT),
        ("utf-8", TEXT),
        ("aws-chunked", TEXT),
        ("x-unknown, gzip", TEXT),
        ("GZIP", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT))),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare(TEXT)),
        ("gzip", HALVES),
        ("gzip", gzip.compress(TEXT) + b"left over"),
        ("gzip", gzip.compress(TEXT) + b"\x1f"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 7, 1000, 10**9])
def test_packed_as_browsers_unpack(server, encoding, body, at_once):
    """However the pieces come: the first thousand are of so many bytes."""

    def answer(client: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n"
        client.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        cuts = [*range(0, min(len(body), 1000 * at_once), at_once), len(body)]
        pieces = [body[start:end] for start, end in pairwise(cuts)]
        client.sendall(b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces))
        client.sendall(b"0\r\n\r\n")

    server.paths["/"] = answer
    with fetching() as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/").data == TEXT


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", bare(b"\0" * 50_000_000)),
        ("gzip", gzip.compress(b"\0" * 500_000) * 100),
        ("gzip, gzip", gzip.compress(gzip.compress(b"\0" * 50_000_000))),
    ],
)
def test_bombs_of_every_packing(server, encoding, body):
    assert failure(server, response(body, Content_Encoding=encoding), max_bytes=1_000_000).code == (
        "too_large"
    )


def test_packed_bodies_that_are_damaged_or_unknown(server):
    packed = gzip.compress(b"x" * 1000)
    assert failure(server, response(packed[:-9], Content_Encoding="gzip")).code == "unreachable"
    assert failure(server, response(b"plain", Content_Encoding="gzip")).code == "unreadable"
    for unasked in ("br", "gzip, br", "zstd", "gzip, gzip, gzip, gzip, gzip"):
        answer = response(b"plain", Content_Encoding=unasked)
        assert failure(server, answer).code == "unreadable"
    for packed, encoding in ((HALVES[:-9], "gzip"), (bare(TEXT)[:-9], "deflate")):
        answer = response(packed, Content_Encoding=encoding)
        assert failure(server, answer).code == "unreachable"


def test_the_size_limit_is_inclusive(server):
    server.paths["/"] = response(b"12345")
    with fetching(max_bytes=5) as fetcher:
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/").data == b"12345"
    assert failure(server, response(b"123456"), max_bytes=5).code == "too_large"


@pytest.mark.parametrize("claimed", ["10", "0x10", "-1", "9" * 5000])
def test_a_wrong_length(server, claimed):
    def answer(client: socket.socket) -> None:
        client.sendall(response(b"short", Content_Length=claimed))

    assert failure(server, answer).code == "unreachable"


@pytest.mark.parametrize("body", [b"", b"<!doctype html><title>Not here</title>"])
def test_the_bytes_decide_not_the_type_in_the_header(server, body):
    server.paths["/"] = response(body, Content_Type="image/jpeg")
    with fetching() as fetcher:
        fetched = fetcher.fetch(f"http://127.0.0.1:{server.port}/")
    assert fetched.data == body
    with pytest.raises(ImageError) as caught:
        decode(fetched.data, DecodeSettings())
    assert caught.value.code == "not_an_image"


def test_redirects_without_end(server):
    server.paths["/"] = response(b"", "301 Moved", Location="/")
    error = failure(server, server.paths["/"], max_redirects=3)
    assert error.code == "too_many_redirects"
    assert len(server.requests) == 4


def test_no_redirects_when_none_are_allowed(server):
    error = failure(server, response(b"", "302 Found", Location="/"), max_redirects=0)
    assert error.code == "too_many_redirects"


# Time: each of these would go on for ever


def drip(client: socket.socket, head: bytes) -> None:
    client.sendall(head)
    while True:
        client.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 1000000\r\n\r\n",
    ],
)
def test_a_slow_drip(server, head):
    error = failure(server, lambda client: drip(client, head), timeout=0.4, max_redirects=1000)
    assert error.code == "timeout"


def test_a_server_that_says_nothing(server):
    error = failure(server, lambda client: client.recv(1), timeout=0.3)
    assert error.code == "timeout"


def test_slow_redirects_count_together(server):
    def answer(client: socket.socket) -> None:
        time.sleep(0.1)
        client.sendall(response(b"", "302 Found", Location="/", Connection="close"))

    assert failure(server, answer, timeout=0.35, max_redirects=1000).code == "timeout"


def test_a_resolver_that_hangs():
    waiting = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        waiting.wait(30)
        return ["127.0.0.1"]

    with (
        Fetcher(FetchSettings(timeout=0.2, **LOCAL), resolver=resolve) as fetcher,
        pytest.raises(ImageError) as caught,
    ):
        fetcher.fetch("http://slow.example/")
    waiting.set()
    assert caught.value.code == "timeout"


def test_a_connection_that_is_never_accepted():
    """A full backlog: the handshake is not answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        with fetching(timeout=0.4) as fetcher, pytest.raises(ImageError) as caught:
            fetcher.fetch(f"http://127.0.0.1:{full.getsockname()[1]}/")
        for filler in fillers:
            filler.close()
    assert caught.value.code in ("timeout", "unreachable")


# Answers


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        ("404 Not Found", "not_found", False),
        ("410 Gone", "not_found", False),
        ("400 Bad Request", "refused", False),
        ("401 Unauthorized", "refused", False),
        ("403 Forbidden", "refused", False),
        ("451 Unavailable For Legal Reasons", "refused", False),
        ("429 Too Many Requests", "rate_limited", True),
        ("408 Request Timeout", "unreachable", True),
        ("500 Internal Server Error", "unreachable", True),
        ("503 Service Unavailable", "unreachable", True),
        ("204 No Content", "unreachable", True),
        ("202 Accepted", "unreachable", True),
        ("302 Found", "unreachable", True),
    ],
)
def test_a_status_says_what_is_wrong_and_whether_it_may_pass(server, status, code, transient):
    error = failure(server, response(b"", status))
    assert (error.code, error.code.transient) == (code, transient)
    assert error.retry_after is None


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_the_wait_that_a_server_asks_for_is_read_in_seconds(server, status):
    assert failure(server, response(b"", status, Retry_After="17")).retry_after == 17
    assert failure(server, response(b"", status, Retry_After="soon")).retry_after is None
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    date = failure(server, response(b"", status, Retry_After=format_datetime(later, usegmt=True)))
    assert date.retry_after == pytest.approx(3600, abs=60)
    past = failure(server, response(b"", status, Retry_After="Mon, 01 Jan 2001 00:00:00 GMT"))
    assert past.retry_after == 0
    assert failure(server, response(b"", status, Retry_After="9" * 5000)).retry_after == 86_400


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0" * 100,
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ],
)
def test_what_is_no_http(server, garbage):
    def answer(client: socket.socket) -> None:
        client.sendall(garbage)

    assert failure(server, answer).code == "unreachable"


@pytest.mark.parametrize("status", ["201 Created", "203 Non-Authoritative", "206 Partial Content"])
def test_browsers_show_what_comes_with_other_statuses_than_200(server, status):
    """Whether it is all of the picture is for the decoder to say."""
    server.paths["/"] = response(b"shown", status, Content_Range="bytes 0-4/9", ETag='"v1"')
    with fetching() as fetcher:
        fetched = fetcher.fetch(f"http://127.0.0.1:{server.port}/")
    assert (fetched.data, fetched.etag) == (b"shown", '"v1"')


def test_a_redirect_that_leads_to_no_address(server):
    answer = response(b"", "302 Found", Location="http://[::1/")
    assert failure(server, answer).code == "unsupported_reference"


# Courtesy


def test_requests_to_one_host_at_a_time(server):
    gate, active, most = threading.Lock(), 0, 0

    def answer(client: socket.socket) -> None:
        nonlocal active, most
        with gate:
            active += 1
            most = max(most, active)
        time.sleep(0.05)
        with gate:
            active -= 1
        client.sendall(response(Connection="close"))

    server.paths["/"] = answer
    with fetching(per_host=2) as fetcher:
        url = f"http://127.0.0.1:{server.port}/"
        threads = [threading.Thread(target=fetcher.fetch, args=(url,)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 10
    assert most == 2


def test_a_host_that_leads_to_another_that_is_away_does_not_count_as_away(server):
    """Else whoever names images could keep a redirecting host from everybody."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = f"http://localhost:{gone.getsockname()[1]}/"
    server.paths["/moved"] = response(b"", "302 Found", Location=dead)
    server.paths["/here"] = response(b"here")
    url = f"http://127.0.0.1:{server.port}"
    with fetching() as fetcher:
        for _ in range(5):
            with pytest.raises(ImageError) as caught:
                fetcher.fetch(f"{url}/moved")
            assert caught.value.code == "unreachable"
        assert "localhost is left alone" in str(caught.value)
        assert fetcher.fetch(f"{url}/here").data == b"here"


def test_hosts_that_redirects_lead_to_have_their_turns_too(server):
    started: list[float] = []

    def answer(client: socket.socket) -> None:
        started.append(time.monotonic())
        client.sendall(response(Connection="close"))

    server.paths["/image"] = answer
    there = f"http://images.example:{server.port}/image"
    server.paths["/moved"] = response(b"", "302 Found", Location=there)
    settings = FetchSettings(per_host_rate=10, **LOCAL)
    with Fetcher(settings, resolver=lambda host, port: ["127.0.0.1"]) as fetcher:
        for name in ("a", "b", "c"):
            fetcher.fetch(f"http://{name}.example:{server.port}/moved")
    assert min(after - before for before, after in pairwise(started)) > 0.09


# TLS


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority of this run's own."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("image.example").configure_cert(context)
    started = Server(tls=context)
    started.paths["/"] = response(b"secure")
    yield started
    started.close()


def https(secure: Server, authority: trustme.CA, host: str) -> bytes:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    settings = FetchSettings(**LOCAL)
    resolver = Resolver(["127.0.0.1"])
    with Fetcher(settings, resolver=resolver, ssl_context=trust) as fetcher:
        return fetcher.fetch(f"https://{host}:{secure.port}/").data


def test_tls_verifies_the_name_although_the_connection_goes_to_an_address(secure, authority):
    assert https(secure, authority, "image.example") == b"secure"
    with pytest.raises(ImageError, match="certificate") as caught:
        https(secure, authority, "other.example")
    assert caught.value.code == "unreachable"


def test_authorities_named_in_the_environment_are_trusted(secure, authority, monkeypatch, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with Fetcher(FetchSettings(**LOCAL), resolver=Resolver(["127.0.0.1"])) as fetcher:
        assert fetcher.fetch(f"https://image.example:{secure.port}/").data == b"secure"


def test_an_unknown_authority_is_refused(secure):
    with fetching() as fetcher, pytest.raises(ImageError, match="certificate") as caught:
        fetcher.fetch(f"https://127.0.0.1:{secure.port}/")
    assert caught.value.code == "unreachable"


def test_a_tls_handshake_that_hangs(server):
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        fetching(timeout=0.3) as fetcher,
        pytest.raises(ImageError) as caught,
    ):
        fetcher.fetch(f"https://127.0.0.1:{mute.getsockname()[1]}/")
    assert caught.value.code == "timeout"
