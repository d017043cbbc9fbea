"""Write what the pages of ``docs/reference/`` take from the code: ``make reference``.

Between ``<!-- generated: NAME -->`` and ``<!-- end -->`` a page holds what ``BLOCKS[NAME]`` gives;
everything else on it is written by hand. With ``--check`` nothing is written, and pages that are
out of date are named.

Settings, policies and commands are all described by JSON Schemas, so that their tables are alike.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import typer
from pydantic import BaseModel, TypeAdapter

from saferank.cli import app
from saferank.cli.examples import EXAMPLES
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.policy.contexts import ContextRule
from saferank.ranker.policy.policy import CategoriesPolicy, CategoryFields, OneCategoryPolicy
from saferank.settings import (
    DecodeSettings,
    FetchSettings,
    GatewaySettings,
    IndexerSettings,
    ReviewSettings,
    Settings,
    variable_of,
)

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
PAGES = tuple(REFERENCE / name for name in ("commands.md", "policy.md", "settings.md"))

Schema = dict[str, Any]


def filled(page: str) -> str:
    """The text of a page with its generated blocks as the code has them now."""
    return re.sub(
        r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)",
        lambda block: f"{block[1]}\n{BLOCKS[block[2]]()}\n\n{block[3]}",
        page,
        flags=re.DOTALL,
    )


def settings(model: type[BaseModel], group: str = "") -> str:
    """A table of the settings of a group, without those of the groups in it."""
    return _table(
        ("setting, environment variable", "value", "default", "meaning"),
        (
            (f"`{group}{name}`<br>`{variable_of(group + name)}`", *_cells(schema))
            for name, schema in _fields(model)
            if "properties" not in schema
        ),
    )


def policy(model: type[BaseModel], *only: str) -> str:
    """A table of the keys of one part of a policy file, or of some of them."""
    return _table(
        ("key", "value", "default", "meaning"),
        (
            (f"`{name}`", *_cells(schema))
            for name, schema in _fields(model)
            if name in only or not only
        ),
    )


def commands() -> str:
    """A list of all commands, and each with its arguments and options.

    Not by ``typer utils docs``: it cuts the lines of the list short, and its format changes from
    release to release, which would make a committed page out of date.
    """
    found = dict(_commands("saferank", typer.main.get_command(app)))
    index = "\n".join(
        f"- [`{name}`](#{name.replace(' ', '-')}): {_paragraphs(command)[0]}"
        for name, command in found.items()
    )
    return "\n\n".join([index, *(_section(name, command) for name, command in found.items())])


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": lambda: settings(Settings),
    "settings.fetch": lambda: settings(FetchSettings, "fetch."),
    "settings.decode": lambda: settings(DecodeSettings, "decode."),
    "settings.indexer": lambda: settings(IndexerSettings, "indexer."),
    "settings.review": lambda: settings(ReviewSettings, "review."),
    "settings.gateway": lambda: settings(GatewaySettings, "gateway."),
    "policy": lambda: policy(OneCategoryPolicy),
    "policy.version2": lambda: policy(CategoriesPolicy, "version", "categories", "levels"),
    "policy.categories": lambda: policy(CategoryFields),
    "policy.levels": lambda: policy(Level),
    "policy.demotion": lambda: policy(Demotion),
    "policy.contexts": lambda: policy(ContextRule),
}


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Schema]]:
    """Name and JSON Schema of each field, with references replaced by what they refer to."""
    schema = model.model_json_schema()
    for name, value in schema["properties"].items():
        required = name in schema.get("required", ())
        yield name, {**_resolved(value, schema.get("$defs", {})), "required": required}


def _resolved(schema: Any, definitions: Schema) -> Any:
    if isinstance(schema, list):
        return [_resolved(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    meant = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else {}
    return {key: _resolved(value, definitions) for key, value in {**meant, **schema}.items()}


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Full name and command, for every command that is not a group of commands."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, part in command.commands.items():
        yield from _commands(f"{name} {word}", part)


def _section(name: str, command: Any) -> str:
    """What ``--help`` says of a command."""
    hints = get_type_hints(command.callback, include_extras=True)
    defaults = inspect.signature(command.callback).parameters
    usage = [name, "[OPTIONS]"]
    rows = []
    for parameter in sorted(command.params, key=lambda each: str(each.param_type_name)):
        if parameter.name not in hints or parameter.hidden:  # Such as --help.
            continue
        schema = _parameter_schema(hints[parameter.name], defaults[parameter.name].default)
        names = [*parameter.opts, *parameter.secondary_opts]
        kind, default = _kind(schema), _default(schema)
        if isinstance(parameter.show_default, str):
            default = re.sub(r"SAFERANK_\w+", r"`\g<0>`", parameter.show_default)
        if parameter.param_type_name == "argument":
            names = [(parameter.metavar or parameter.name).strip("[].").upper()]
            word = names[0] + "..." * (schema["type"] == "array")
            usage.append(word if schema["required"] else f"[{word}]")
        elif schema["type"] == "boolean":
            kind = ""
            default = f"`{names[0 if parameter.default else 1]}`" if names[1:] else ""
        elif schema["type"] == "array":
            kind = f"{parameter.metavar or _kind(schema['items'])}, repeatable"
        rows.append(
            (", ".join(f"`{each}`" for each in names), kind, default, _marked(parameter.help))
        )
    parts = [f"## {name}", *_paragraphs(command), f"```console\n$ {' '.join(usage)}\n```"]
    if example := EXAMPLES.get(name.removeprefix("saferank ")):
        parts.append(f"Example: `{example}`")
    if rows:
        parts.append(_table(("argument, option", "value", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _parameter_schema(hint: Any, default: Any) -> Schema:
    """The schema of a command's parameter, from an annotation as Typer wants it."""
    whole = TypeAdapter(hint.__origin__).json_schema()
    named = whole.get("$defs", {})
    kinds = (
        named[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        for each in whole.get("anyOf", [whole])
    )
    (schema,) = (kind for kind in kinds if kind["type"] != "null")
    typers = hint.__metadata__[0]
    limits = {"minimum": typers.min, "maximum": typers.max}
    schema |= {key: value for key, value in limits.items() if value is not None}
    required = default is inspect.Parameter.empty
    return {**schema, "required": required, **({} if required else {"default": default})}


def _paragraphs(command: Any) -> list[str]:
    text = _marked(inspect.cleandoc(command.help))
    return [part.replace("\n", " ") for part in text.split("\n\n")]


def _marked(text: str) -> str:
    """A help text with the options that it names marked as code."""
    return re.sub(r"(?<!\S)--\w[\w-]*", r"`\g<0>`", text)


def _cells(schema: Schema) -> tuple[str, str, str]:
    return _kind(schema), _default(schema), schema["description"]


def _kind(schema: Schema) -> str:
    """Which values there are, in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each["type"] != "null")
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema["type"]:
        case "array":
            return f"list of {_kind(schema['items'])}s"
        case "object" if "properties" in schema:
            return str(schema["title"]).lower()
        case "object":
            (values,) = schema.get(
                "patternProperties", {0: schema.get("additionalProperties")}
            ).values()
            return "JSON object" if values is True else f"name: {_kind(values)}"
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return "`true`, `false`"
    return {"path": "path", "ipvanynetwork": "network"}.get(schema.get("format", ""), "string")


def _number(schema: Schema) -> str:
    kind = str(schema["type"])
    if "maximum" in schema:
        return f"{kind} {_plain(schema['minimum'])} … {_plain(schema['maximum'])}"
    if "minimum" in schema:
        return f"{kind} ≥ {_plain(schema['minimum'])}"
    return f"positive {kind}" if schema.get("exclusiveMinimum") == 0 else kind


def _default(schema: Schema) -> str:
    if schema["required"]:
        return "required"
    if "default" not in schema:
        return ""
    value = schema["default"]
    if value in (None, [], {}):
        return "none"
    if isinstance(value, bool | dict | list):
        return f"`{json.dumps(value)}`"
    return f"`{_plain(value) if isinstance(value, int | float) else value}`"


def _plain(number: float) -> str:
    """A number as people write it: without an exponent, long ones with a mark at each thousand."""
    if isinstance(number, int):
        return f"{number:_}" if number >= 100_000 else str(number)
    return f"{Decimal(str(number)).normalize():f}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (header, ("---",) * len(header), *rows)
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def main() -> None:
    """Write the pages, or with ``--check`` say which of them are out of date."""
    stale = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if text != filled(text):
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(filled(text), encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"out of date: {', '.join(stale)}; run 'make reference'")


if __name__ == "__main__":
    main()
