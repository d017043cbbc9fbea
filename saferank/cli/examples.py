"""What is done to the help of every command: an example at its end, and lines that fit."""

from __future__ import annotations

import inspect
import re

import typer

EXAMPLES: dict[str, str] = {
    "stack up": "saferank stack up --heap 2g",
    "stack down": "saferank stack down --erase",
    "stack status": "saferank stack status --json",
    "stack env": 'eval "$(saferank stack env)"',
    "mapping install": "saferank mapping install photos",
    "mapping check": "saferank mapping check photos",
    "mapping show": "saferank mapping show",
    "index": "saferank index photos 4711 4712",
    "import": "saferank import photos scores.parquet",
    "worker": "saferank worker --concurrency 2",
    "score": "saferank score holiday.jpg painting.png",
    "demo": "saferank demo",
    "model fetch": "saferank model fetch open_nsfw",
    "model check": "saferank model check nudenet picture.jpg",
    "model show": "saferank model show open_nsfw",
    "model run": "saferank model run deploy.prototxt weights.caffemodel --input data=blob.npy",
    "model features": "saferank model features --blob pool --out features.parquet a.jpg b.jpg",
    "model quantise": "saferank model quantise pictures/ --out open_nsfw_int8",
    "net list": "saferank net list",
    "net build": "saferank net build resnet_50_1by2",
    "net cost": "saferank net cost resnet_50_1by2",
    "net compare": "saferank net compare",
    "finetune": "saferank finetune labels.csv --from open_nsfw --positive nsfw --out mine",
    "backfill": "saferank backfill photos --only stale --rate 50",
    "reindex": "saferank reindex photos --into photos-2",
    "rollback": "saferank rollback photos",
    "jobs list": "saferank jobs list --json",
    "jobs show": "saferank jobs show photos.safety.missing",
    "jobs pause": "saferank jobs pause photos.safety.missing",
    "jobs cancel": "saferank jobs cancel photos.safety.missing",
    "jobs resume": "saferank jobs resume photos.safety.missing",
    "search": "saferank search photos beach --context audience=child",
    "explain": "saferank explain photos 4711 --context audience=child",
    "policy check": "saferank policy check policy.yaml --request search.json",
    "policy show": "saferank policy show policy.yaml",
    "policy explain": "saferank policy explain policy.yaml --context audience=child",
    "policy diff": "saferank policy diff policy.yaml next.yaml",
    "policy schema": "saferank policy schema > policy.schema.json",
    "policy what-if": "saferank policy what-if photos --policy next.yaml --against policy.yaml",
    "alias install": "saferank alias install photos",
    "alias remove": "saferank alias remove photos",
    "override allow": 'saferank override allow photos 4711 --by ann --reason "a painting"',
    "override block": "saferank override block photos 4711 --by ann",
    "override remove": "saferank override remove photos 4711",
    "override install": "saferank override install",
    "override list": "saferank override list",
    "known install": "saferank known install",
    "known add": "saferank known add logo.png --by ann --decision allow",
    "known list": "saferank known list --list pictures",
    "known remove": "saferank known remove --list pictures",
    "known import": "saferank known import hashes.txt --list elsewhere --by ann",
    "known apply": "saferank known apply photos",
    "sample": "saferank sample photos --random 500 --out sample.csv",
    "calibrate": "saferank calibrate labels.csv --max-miss 0.05 --out report",
    "review": "saferank review photos --policy policy.yaml",
    "reviewers add": "saferank reviewers add ann --role undo_others",
    "review-log rebuild": "saferank review-log rebuild photos",
    "health": "saferank health photos --json",
    "gateway": "saferank gateway --upstream http://127.0.0.1:9200 --policy policy.yaml",
    "callers add": "saferank callers add shop --context audience=child",
    "settings": "saferank settings --changed",
}


def add_examples(app: typer.Typer) -> None:
    """Give each command the end of its help."""
    for name, command in _commands(app):
        if (example := EXAMPLES.get(name)) is not None:
            command.epilog = f"Example: [bold]{example.replace('[', chr(92) + '[')}[/bold]"


def join_lines(app: typer.Typer) -> None:
    """Let the terminal break the lines of each paragraph; Typer keeps those of the docstring."""
    for _, command in _commands(app):
        text = command.help or inspect.getdoc(command.callback) or ""
        command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def _commands(app: typer.Typer, of: str = "") -> list[tuple[str, typer.models.CommandInfo]]:
    found = []
    for command in app.registered_commands:
        named = command.callback.__name__ if command.callback is not None else ""
        found.append((of + (command.name or named.replace("_", "-")), command))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            found += _commands(group.typer_instance, f"{of}{group.name} ")
    return found
