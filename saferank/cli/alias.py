"""``saferank alias``: filtered aliases for clients that cannot be changed."""

from __future__ import annotations

from typing import Annotated

import typer

from saferank.cli.options import PolicyOption
from saferank.cli.output import say
from saferank.connection import clear_errors, connect
from saferank.ranker import load_policy
from saferank.ranker.alias import (
    ALIAS_NAME,
    LEAVES_OPEN,
    PROTECTS,
    install_aliases,
    remove_aliases,
)
from saferank.settings import get_settings

_alias = typer.Typer(help="Filtered aliases, one for each level.", no_args_is_help=True)

_Index = Annotated[str, typer.Argument(help="Index or alias.")]
_Name = Annotated[str, typer.Option(help="Names of the aliases.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_alias, name="alias")


@_alias.command()
def install(index: _Index, policy: PolicyOption = None, name: _Name = ALIAS_NAME) -> None:
    """Create or update an alias for each level that shows only what the level shows."""
    settings = get_settings()
    loaded = load_policy(policy or settings.policy)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        names = install_aliases(client, index, loaded, name=name)
    say(f"installed: {', '.join(names)}")
    say("Through an alias hidden documents are not in:")
    for what in PROTECTS.values():
        say(f"  {what}")
    say("It does not demote, and it does not protect against:")
    for what in LEAVES_OPEN.values():
        say(f"  {what}")
    say(
        "So let such a client send only searches that your own code has written; one that passes "
        "on what users ask needs SafeSearch in between."
    )


@_alias.command()
def remove(index: _Index, policy: PolicyOption = None, name: _Name = ALIAS_NAME) -> None:
    """Remove the aliases of all levels."""
    settings = get_settings()
    loaded = load_policy(policy or settings.policy)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        names = remove_aliases(client, index, loaded, name=name)
    say(f"removed: {', '.join(names)}" if names else "there were none")
