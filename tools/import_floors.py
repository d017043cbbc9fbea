"""Print how high the rooms of ranker/ and indexer/ stand on one another, and every circle.

    python tools/import_floors.py

A room is a file or a folder directly inside the part. It stands on floor 0 when it imports no
other room, and else one floor above the highest room that it imports. Imports are read from the
files, those for type checkers and those inside functions included. Ends with 1 when there are more
floors than a reader can keep in mind, or a circle anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import grimp
from rich.console import Console
from rich.table import Table

MOST_FLOORS = {"saferank.ranker": 6, "saferank.indexer": 6}

Imports = Mapping[str, set[str]]


def imports_between(graph: grimp.ImportGraph, rooms: set[str]) -> Imports:
    """For each room, the rooms that it imports; what is inside a room counts as the room."""
    inside = {module: room for room in rooms for module in (room, *graph.find_descendants(room))}
    return {
        room: {
            inside[imported]
            for module in (room, *graph.find_descendants(room))
            for imported in graph.find_modules_directly_imported_by(module)
            if inside.get(imported, room) != room
        }
        for room in rooms
    }


def floors(imports: Imports) -> dict[str, int]:
    """The floor of each room.

    Raises:
        CycleError: there is a circle; its second argument names the rooms in it.
    """
    found: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():
        found[room] = max((found[below] + 1 for below in imports[room]), default=0)
    return found


def circles(graph: grimp.ImportGraph) -> Iterator[str]:
    """One circle among the files of each part, if there is any."""
    modules = graph.modules
    try:
        floors({m: graph.find_modules_directly_imported_by(m) & modules for m in modules})
    except CycleError as error:
        yield " -> ".join(error.args[1])


def main() -> int:
    """Print a table for each part; gives the exit code."""
    console = Console()
    graph = grimp.build_graph("saferank")
    faults = [f"circle: {names}" for names in circles(graph)]
    for part, most in MOST_FLOORS.items():
        try:
            found = floors(imports_between(graph, graph.find_children(part)))
        except CycleError as error:
            faults.append(f"circle between rooms: {' -> '.join(error.args[1])}")
            continue
        height = max(found.values()) + 1
        table = Table("floor", "rooms", title=f"{part}: {len(found)} rooms on {height} floors")
        for floor in reversed(range(height)):
            rooms = sorted(r.removeprefix(f"{part}.") for r in found if found[r] == floor)
            table.add_row(str(floor), ", ".join(rooms))
        console.print(table)
        if height > most:
            faults.append(f"{part} has {height} floors, and {most} are the most")
    console.print("\n".join(faults) or "no circles", highlight=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
