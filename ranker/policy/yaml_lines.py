"""Reading YAML so that every value knows its line.

The rules for plain words are those of YAML 1.2: ``off``, ``on``, ``yes`` and ``NO`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from saferank.errors import PolicyError

Location = tuple[str | int, ...]
"""Keys and positions from the top of a document to a value."""


class _Loader(yaml.loader.BaseLoader):
    """Composes nodes with the tags of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"

for _tag, _pattern, _first in (
    (_NULL, r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (_BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    (_INT, r"^[-+]?[0-9]+$", list("-+0123456789")),
    (_FLOAT, r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)

_CONVERT: dict[str, Callable[[str], Any]] = {
    _NULL: lambda _text: None,
    _BOOL: lambda text: text.lower() == "true",
    _INT: int,
    _FLOAT: float,
    _TEXT: str,
}


def read_yaml(text: str, path: str | None) -> tuple[Any, dict[Location, int]]:
    """Parse one YAML document.

    Args:
        text: the document.
        path: name of the file, for error messages.

    Returns:
        The data as dict, list, str, int, float, bool and None, and the 1-based line of each
        value by its location (of a mapping's entry: the line of the key).

    Raises:
        PolicyError: not YAML, more than one document, a key that is repeated or not text, a tag
            that is not supported, or a value that contains itself or is too deep.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise PolicyError(f"not valid YAML: {error.problem}", path=path, line=line) from error
    except yaml.YAMLError as error:
        raise PolicyError(f"not valid YAML: {error}", path=path) from error
    except RecursionError as error:
        raise PolicyError(_TOO_DEEP, path=path) from error
    lines: dict[Location, int] = {}
    if node is None:
        return None, lines
    try:
        return _Reader(path, lines).value(node, (), 1), lines
    except RecursionError as error:
        raise PolicyError(_TOO_DEEP, path=path) from error


_TOO_DEEP = "lists or mappings are inside of each other too deeply; no policy needs that"


class _Reader:
    """Turns nodes into data and notes the lines."""

    def __init__(self, path: str | None, lines: dict[Location, int]) -> None:
        self._path = path
        self._lines = lines
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, location: Location, line: int) -> Any:
        self._lines[location] = line
        if any(node is outer for outer in self._open):
            raise self._fault("a value contains itself", node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, location)
            return [
                self.value(item, (*location, position), item.start_mark.line + 1)
                for position, item in enumerate(node.value)
            ]
        finally:
            self._open.pop()

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        convert = _CONVERT.get(node.tag)
        if convert is None:
            raise self._fault(f"the tag {node.tag!r} is not supported", node)
        try:
            return convert(node.value)
        except ValueError as error:
            raise self._fault(f"{node.value!r} does not fit the tag {node.tag!r}", node) from error

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TEXT:
                raise self._fault("a key must be text; put it in quotes", key_node)
            key = key_node.value
            if key in data:
                first = self._lines[*location, key]
                raise self._fault(
                    f"the key {key!r} is repeated (first on line {first}); keep one", key_node
                )
            data[key] = self.value(value_node, (*location, key), key_node.start_mark.line + 1)
        return data

    def _fault(self, message: str, node: yaml.Node) -> PolicyError:
        return PolicyError(message, path=self._path, line=node.start_mark.line + 1)


def nearest_line(lines: dict[Location, int], location: Location) -> int | None:
    """Line of a location, or of the closest thing around it that is in the file."""
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return None
