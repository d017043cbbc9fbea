"""Several processes, on one machine or many, that train one net together.

Each makes its own share of every batch; sums over a batch, such as the gradient and the statistics
of a normalisation, go over all of them. So the number of processes changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, JobError
from saferank.models.training.place import LOST, Place


def join(place: Place, *, wait: int = 300) -> Group:
    """Meet the other processes; before anything is computed with JAX.

    Args:
        place: of this process.
        wait: seconds until all must be there.

    Raises:
        JobError: not all came.
    """
    if place.count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            jax.distributed.initialize(
                place.coordinator,
                place.count if place.coordinator else None,
                place.rank if place.coordinator else None,
                local_device_ids=place.local,
                initialization_timeout=wait,
            )
        except (RuntimeError, ValueError) as error:
            raise JobError(
                f"process {place.rank + 1} of {place.count} did not meet the others within "
                f"{wait} s ({_first_line(error)}); see that all were started and can reach "
                "the first one"
            ) from error
    return Group()


class Group:
    """The processes that train together, and their devices; all have as many.

    Attributes:
        rank: of this process, from 0; the first one writes.
        count: of processes.
        devices: of all processes; each takes the same share of a batch.
    """

    def __init__(self) -> None:
        self.rank, self.count = jax.process_index(), jax.process_count()
        self.devices = jax.device_count()
        mesh = Mesh(np.array(jax.devices()), ("batch",))
        self.alike = NamedSharding(mesh, PartitionSpec())
        self.parted = NamedSharding(mesh, PartitionSpec("batch"))

    def part_of(self, size: int) -> slice:
        """Which of the examples of a batch this process makes.

        Args:
            size: of the batch, a multiple of ``devices``.
        """
        each = size // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def check_batch(self, size: int) -> None:
        """See that all get the same share, without which sums would be wrong unnoticed.

        Raises:
            ConfigurationError: they do not.
        """
        if size % self.devices:
            raise ConfigurationError(
                f"a batch of {size} cannot be shared evenly by {self.devices} "
                f"{'processes' if self.devices == self.count else 'devices'}; give --batch a "
                "multiple of that, no larger than there are examples"
            )

    def to_all(self, tree: Any) -> Any:
        """Place what every process has alike on all devices."""
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(self.alike, np.asarray(leaf)), tree
        )

    def together(self, part: NDArray[Any]) -> jax.Array:
        """Make one array of the parts that the processes have, along the first axis."""
        array: jax.Array = jax.make_array_from_process_local_data(self.parted, part)
        return array

    def from_first(self, data: bytes) -> bytes:
        """What the first process has, whatever the others have."""
        if self.count == 1:
            return data
        with self.all_there():
            size = int(multihost_utils.broadcast_one_to_all(np.uint32(len(data))))
            given = np.frombuffer(data, np.uint8) if self.rank == 0 else np.zeros(size, np.uint8)
            return np.asarray(multihost_utils.broadcast_one_to_all(given), np.uint8).tobytes()

    def check_alike(self, name: str, what: str) -> None:
        """See that all processes are about to do the same.

        Args:
            name: hexadecimal, of the same length everywhere.
            what: it names, for the message.

        Raises:
            ConfigurationError: they are not.
        """
        if self.count == 1:
            return
        with self.all_there():
            names = multihost_utils.process_allgather(np.frombuffer(bytes.fromhex(name), np.uint8))
        if (names != names[0]).any():
            raise ConfigurationError(
                f"the processes do not have the same {what}; give all of them the same command and "
                "the same files"
            )

    @contextmanager
    def all_there(self) -> Iterator[None]:
        """Say in a sentence that another process has gone.

        Raises:
            JobError: it has.
        """
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if self.count == 1 or not _is_of_a_peer(error):
                raise
            raise JobError(
                f"another process of this training has gone; {LOST} ({_first_line(error)})"
            ) from error


def _is_of_a_peer(error: Exception) -> bool:
    # JAX has no class of its own for this; gloo between CPUs, NCCL between GPUs.
    return any(name in str(error) for name in ("Gloo", "NCCL", "coordination service"))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
