"""Two real processes that train one net: the same weights as one, and what a lost one leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from saferank.models.caffe import read_weights
from saferank.models.training.place import LOST

# 32 examples to learn from in batches of 8: 20 steps.
OPTIONS = [
    *("--name", "mine", "--batch", "8", "--rate", "0.05", "--epochs", "5", "--patience", "9"),
    *("--validation", "0.34", "--no-frozen-statistics"),
]


def command(labels: Path, source: Path, out: Path, *more: str) -> list[str]:
    python = [sys.executable, "-m", "saferank.cli", "finetune", str(labels)]
    return [*python, "--from", str(source), "--out", str(out), *OPTIONS, *more]


def start(arguments: list[str], count: int, log: Path) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = []
    for rank in range(count):
        with Path(f"{log}.{rank}").open("wb") as output:
            environment = {**os.environ, **common, "RANK": str(rank), "JAX_PLATFORMS": "cpu"}
            processes.append(
                subprocess.Popen(
                    arguments, env=environment, stdout=output, stderr=subprocess.STDOUT
                )
            )
    return processes


def run(arguments: list[str], count: int, log: Path) -> str:
    codes = [process.wait(100) for process in start(arguments, count, log)]
    printed = Path(f"{log}.0").read_text()
    assert codes == [0] * count, printed
    return printed


def furthest(one: Path, other: Path) -> float:
    """The largest difference of two weights or statistics."""
    files = [dict(read_weights(folder / "weights.caffemodel").layers) for folder in (one, other)]
    assert files[0].keys() == files[1].keys()
    return max(
        float(np.abs(mine.data - same.data).max())
        for name in files[0]
        for mine, same in zip(files[0][name], files[1][name], strict=True)
    )


def steps_done(folder: Path) -> int:
    with np.load(folder / "last.checkpoint") as stored:
        step: int = json.loads(str(stored["told"]))["step"]
    return step


def test_one_process_and_two_end_with_the_same_weights_also_when_one_was_killed(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    alone, together, killed = (tmp_path / name for name in ("alone", "together", "killed"))
    run(command(stripes, small_model, alone, "--alone"), 1, tmp_path / "log")
    printed = run(command(stripes, small_model, together), 2, tmp_path / "log")
    assert "2 processes, as WORLD_SIZE says" in printed
    assert steps_done(together) == 20
    assert furthest(alone, together) < 1e-5

    processes = start(command(stripes, small_model, killed), 2, tmp_path / "log")
    until = time.monotonic() + 60
    while not (killed / "last.checkpoint").exists() and time.monotonic() < until:
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert processes[0].wait(60) == 1
    # JAX alone would wait for the time-out of the heartbeat, 100 seconds.
    assert time.monotonic() - began < 30
    said = (tmp_path / "log.0").read_text()
    assert said.count("saferank: ") == 1
    assert "another process of this training has gone; start all of them again" in said.replace(
        "\n", " "
    )
    assert steps_done(killed) < 20
    # The rest is done by one process: the batches are the same.
    run(command(stripes, small_model, killed, "--alone"), 1, tmp_path / "log")
    assert furthest(alone, killed) < 1e-5


def test_when_the_first_process_is_lost_the_others_say_so_too(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    processes = start(command(stripes, small_model, out), 2, tmp_path / "log")
    until = time.monotonic() + 60
    while not (out / "last.checkpoint").exists() and time.monotonic() < until:
        time.sleep(0.02)
    processes[0].send_signal(signal.SIGKILL)
    assert processes[1].wait(60) == 1
    said = (tmp_path / "log.1").read_text().replace("\n", " ")
    assert LOST in said


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--batch", "9"], "a batch of 9 cannot be shared evenly by 2 processes; give --batch"),
        (["--seed", "{rank}"], "the processes do not have the same labels, model and recipe"),
    ],
)
def test_processes_that_would_add_up_wrongly_are_refused(
    small_model: Path, stripes: Path, tmp_path: Path, more: list[str], reason: str
) -> None:
    arguments = [*command(stripes, small_model, tmp_path / "out"), *more]
    shell = ["sh", "-c", "exec " + " ".join(arguments).replace("{rank}", "$RANK")]
    processes = start(shell, 2, tmp_path / "log")
    assert [process.wait(60) for process in processes] == [1, 1]
    assert reason in (tmp_path / "log.0").read_text().replace("\n", " ")
