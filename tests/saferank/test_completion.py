"""An editor's language server completes what the front door offers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SERVER = Path(sys.executable).with_name("basedpyright-langserver")


class LanguageServer:
    """As much of the language server protocol as an editor needs to complete."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self._number = 0
        folder = {"uri": ROOT.as_uri(), "name": "checkout"}
        self.ask(
            "initialize", {"processId": None, "capabilities": {}, "workspaceFolders": [folder]}
        )
        self._send({"method": "initialized", "params": {}})

    def completions(self, text: str) -> set[str]:
        """What is offered at the end of a program, in a file of the folder with the examples."""
        uri = f"{(ROOT / 'examples' / f'page{self._number}.py').as_uri()}"
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": item}})
        *before, last = text.split("\n")
        place = {"line": len(before), "character": len(last)}
        found = self.ask(
            "textDocument/completion", {"textDocument": {"uri": uri}, "position": place}
        )
        return {item["label"] for item in found["items"]}

    def ask(self, method: str, params: Any) -> Any:
        self._number += 1
        asked = self._number
        self._send({"id": asked, "method": method, "params": params})
        while True:
            message = self._receive()
            if "method" not in message:
                if message.get("id") == asked:
                    return message["result"]
            elif "id" in message:  # The server asks, too: for its settings, say.
                answer = [{} for _ in message["params"].get("items", ())]
                self._send({"id": message["id"], "result": answer})

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self._process.stdout.read(length))


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    started = LanguageServer()
    yield started
    started.close()


@pytest.mark.parametrize("kind", ["SafeSearch", "AsyncSafeSearch"])
def test_the_keywords_of_a_search_are_completed(server: LanguageServer, kind: str) -> None:
    program = (
        f"from saferank import {kind}\n\ndef page(client: {kind}) -> None:\n    client.search("
    )
    assert {"context=", "index=", "query=", "knn=", "from_="} <= server.completions(program)


def test_the_names_of_the_front_door_are_completed(server: LanguageServer) -> None:
    offered = server.completions("from saferank import ")
    assert {"SafeSearch", "load_policy", "rewrite_search", "UnsafeRequest"} <= offered
