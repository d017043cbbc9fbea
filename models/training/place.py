"""Which of several processes this one is, as whatever started them tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from saferank.errors import ConfigurationError

LOST = "start all of them again with the same command, and it goes on from its last checkpoint"
"""What every message says of which a process that was lost is the reason."""

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Where a process stands among those that train together.

    Attributes:
        rank: from 0.
        count: of all processes.
        said_by: whose variables of the environment say so; empty for a process alone.
        coordinator: host and port at which they meet; None lets JAX find it.
        local: which of the machine's GPUs it takes; None for all.
    """

    rank: int = 0
    count: int = 1
    said_by: str = ""
    coordinator: str | None = None
    local: int | None = None


def place_of(environment: Mapping[str, str]) -> Place:
    """Read what torchrun, or ``srun``, tells the processes that it starts.

    Args:
        environment: ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``, with
            ``LOCAL_RANK`` for a GPU a process; or Slurm's variables of a step.

    Raises:
        ConfigurationError: it says only a part of it, or nonsense.
    """
    given = [name for name in _TORCHRUN if name in environment]
    # Python's own test runners and shells set RANK alone at times; WORLD_SIZE decides.
    if "WORLD_SIZE" in given:
        if missing := [name for name in _TORCHRUN if name not in given]:
            raise ConfigurationError(
                f"the environment has WORLD_SIZE, but not {', '.join(missing)}; set all of "
                f"{', '.join(_TORCHRUN)}, or train with --alone"
            )
        rank, count = (_number(environment, name) for name in ("RANK", "WORLD_SIZE"))
        if not 0 <= rank < count:
            raise ConfigurationError(
                f"RANK is {rank} and WORLD_SIZE {count}; ranks go from 0 to WORLD_SIZE - 1"
            )
        where = f"{environment['MASTER_ADDR']}:{_number(environment, 'MASTER_PORT')}"
        local = _number(environment, "LOCAL_RANK") if "LOCAL_RANK" in environment else None
        return Place(rank, count, "WORLD_SIZE", where, local)
    # Within an allocation, but not started by srun, there is one process whatever was allocated.
    if "SLURM_STEP_NODELIST" in environment and "SLURM_STEP_NUM_TASKS" in environment:
        return Place(
            _number(environment, "SLURM_PROCID"),
            _number(environment, "SLURM_STEP_NUM_TASKS"),
            "Slurm",
        )
    return Place()


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"{name} is {environment.get(name, 'missing')!r} in the environment, and must be a "
            "number; correct it, or train with --alone"
        ) from error
