"""Reading prototxt: protobuf's text format, with messages that say where the fault is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from saferank.errors import ModelFormatError, ModelNotFound
from saferank.models.caffe import caffe_pb2 as pb


@dataclass
class LayerLines:
    """Where one ``layer { }`` block stands in the text.

    Attributes:
        kind: ``layer`` or ``layers`` (the older form).
        start: 1-based line of the block's first word.
        name: the layer's name as far as it could be read.
        fields: 1-based line of the first use of each field, at any depth.
    """

    kind: str
    start: int
    name: str = ""
    fields: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Prototxt:
    """A parsed prototxt.

    Attributes:
        name: the file's name, for messages.
        message: what the file says, before any upgrade.
        lines: one entry for each layer, in file order; empty where the layers could not be told
            apart in the text.
    """

    name: str
    message: pb.NetParameter
    lines: Sequence[LayerLines]


def read_prototxt(path: Path) -> Prototxt:
    """Read a network description.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is not a network description; the message has file and line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelNotFound(
            f"{path}: the network description cannot be read: {error.strerror}"
        ) from error
    return parse_prototxt(data, path.name)


def parse_prototxt(data: bytes, name: str) -> Prototxt:
    """Parse the bytes of a network description called ``name``; see `read_prototxt`."""
    if not data.strip():
        raise ModelFormatError(f"{name} is empty: it has no layers")
    if any(byte < 9 for byte in data[:4096]):  # control characters that no text has
        raise ModelFormatError(
            f"{name} is not text (it looks like a binary caffemodel): are the two files swapped?"
        )
    # Comments may be in any encoding; only what is in strings must be UTF-8.
    text = data.decode("utf-8-sig", "surrogateescape")
    message = pb.NetParameter()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _syntax_error(text, name, error) from error
    lines = list(_layer_lines(text))
    if len(lines) != len(message.layer) + len(message.layers):
        lines = []  # written as a list: layer: [{ ... }, { ... }]
    _check_one_form(message, name, lines)
    if not message.layer and not message.layers:
        raise ModelFormatError(f"{name} is empty: it has no layers")
    _check_required(message, name, lines)
    return Prototxt(name, message, lines)


def _syntax_error(text: str, name: str, error: text_format.ParseError) -> ModelFormatError:
    line = error.GetLine() or 1
    # The parser puts "line:column : 'the line': " before its reason.
    reason = re.sub(r"^\d+:\d+ : (?:'.*?': )?", "", str(error), count=1, flags=re.DOTALL)
    reason = reason.strip().replace("saferank.caffe.", "")
    if "surrogates" in reason:
        return ModelFormatError(f"{name}:{line}: a name is not UTF-8; save the file as UTF-8")
    blocks = [block for block in _layer_lines(text) if block.start <= line]
    inside = f' (in layer "{blocks[-1].name}")' if blocks else ""
    source = text.splitlines()[line - 1].strip() if line <= len(text.splitlines()) else ""
    unknown = re.search(r'type "(\w+)" has no field named "(\w+)"', reason)
    if unknown and unknown[2] in ("layer", "layers"):
        return ModelFormatError(
            f'{name}:{line}: unexpected "{unknown[2]}": a closing brace is missing '
            f"before it{inside}"
        )
    if unknown:
        known = pb.DESCRIPTOR.message_types_by_name[unknown[1]].fields_by_name
        reason = f'unknown field "{unknown[2]}"{_did_you_mean(unknown[2], known)}'
    elif twice := re.search(r'multiple "(\w+)" fields', reason):
        reason = f'"{twice[1]}" may be given only once here'
    elif value := re.search(r'Enum type "([\w.]+)" has no value named (\w+)', reason):
        reason = f'unknown value "{value[2]}" in "{source}"'
    else:
        reason = f'{reason.rstrip(".")} in "{source}"'
    return ModelFormatError(f"{name}:{line}: {reason}{inside}")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _layer_lines(text: str) -> Iterator[LayerLines]:
    """Find the layer blocks, tolerating whatever is wrong with the text."""
    tokens = list(_tokens(text))
    depth = 0
    block: LayerLines | None = None
    for index, (word, line) in enumerate(tokens):
        next_two = [token for token, _ in tokens[index + 1 : index + 3]]
        opens = next_two[:1] in (["{"], ["<"]) or next_two in ([":", "{"], [":", "<"])
        if depth == 0 and word in ("layer", "layers") and opens:
            if block is not None:
                yield block
            block = LayerLines(word, line)
        elif block is not None and (opens or next_two[:1] == [":"]):
            block.fields.setdefault(word, line)
            if word == "name" and not block.name:
                block.name = next_two[-1].strip("\"'")
        depth += (word in ("{", "<")) - (word in ("}", ">"))
    if block is not None:
        yield block


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Split prototxt into its words, strings and signs, each with its line."""
    pattern = re.compile(
        r"#[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|[{}<>:\[\];,]|[^\s]"
    )
    line, position = 1, 0
    for match in pattern.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        if not match[0].startswith("#"):
            yield match[0], line


def _check_one_form(message: pb.NetParameter, name: str, lines: Sequence[LayerLines]) -> None:
    if message.layer and message.layers:
        odd = [str(block.start) for block in lines if block.kind != lines[0].kind]
        raise ModelFormatError(
            f'{":".join([name, *odd[:1]])}: the file mixes "layer" and old-style "layers"; '
            "use one form throughout"
        )


def _check_required(message: pb.NetParameter, name: str, lines: Sequence[LayerLines]) -> None:
    for missing in message.FindInitializationErrors():  # type: ignore[attr-defined]
        match = re.match(r"layers?\[(\d+)\]\.(.*)", missing)
        if match and lines:
            block = lines[int(match[1])]
            raise ModelFormatError(
                f'{name}:{block.start}: layer "{block.name}": {match[2]} is required'
            )
        raise ModelFormatError(f"{name}: {missing} is required")
