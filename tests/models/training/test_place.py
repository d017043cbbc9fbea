"""Which of several processes one is, from the variables of whatever started it."""

import pytest

from saferank.errors import ConfigurationError
from saferank.models.training.place import Place, place_of

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"}
# What srun sets in a step of two tasks, in an allocation of four.
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


def test_torchruns_variables_say_rank_and_meeting_place() -> None:
    assert place_of(TORCHRUN) == Place(1, 3, "WORLD_SIZE", "10.0.0.7:29500")
    assert place_of({**TORCHRUN, "LOCAL_RANK": "1"}).local == 1


def test_a_step_of_slurm_counts_and_an_allocation_does_not() -> None:
    assert place_of(SLURM) == Place(1, 2, "Slurm")
    batch_script = {name: value for name, value in SLURM.items() if "STEP" not in name}
    assert place_of(batch_script) == Place() == place_of({})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"MASTER_PORT": None}, "has WORLD_SIZE, but not MASTER_PORT"),
        ({"RANK": "3"}, "RANK is 3 and WORLD_SIZE 3; ranks go from 0"),
        ({"RANK": "one"}, "RANK is 'one' in the environment, and must be a number"),
    ],
)
def test_variables_that_make_no_sense_are_refused(
    changed: dict[str, str | None], reason: str
) -> None:
    given = {name: value for name, value in {**TORCHRUN, **changed}.items() if value is not None}
    with pytest.raises(ConfigurationError, match=reason):
        place_of(given)
