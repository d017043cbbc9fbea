"""Run a command that prints nothing for a while, and show that it is still at work.

    python tools/patiently.py WHAT COMMAND...

Needs nothing but Python: it is used before anything is installed.
"""

from __future__ import annotations

import subprocess
import sys
import time

EVERY = 4.0
"""Seconds between two signs of life."""


def main(what: str, *command: str) -> int:
    """Run it and give its exit status; each sign of life says how long it has taken."""
    begun = time.monotonic()
    running = subprocess.Popen(command)  # noqa: S603
    terminal = sys.stdout.isatty()
    while True:
        try:
            status = running.wait(EVERY)
        except subprocess.TimeoutExpired:
            text = f"  {what}: {time.monotonic() - begun:.0f} s"
            sys.stdout.write(f"\r{text}" if terminal else f"{text}\n")
            sys.stdout.flush()
        except KeyboardInterrupt:  # It was for both: the command ends by itself.
            continue
        else:
            if terminal and time.monotonic() - begun > EVERY:
                sys.stdout.write("\n")
            return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
