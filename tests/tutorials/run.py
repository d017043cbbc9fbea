"""Do what a tutorial says, line by line, and compare what is printed with the page.

    python tests/tutorials/run.py docs/tutorial.md

Python of a page is saved under the name that the page gives; installations are left out, since
this environment has them. Words must be the same, numbers nearly; what differs from machine to
machine (addresses, process ids, folders, dates) is not compared. Prints what differs, and ends
with 1 then. Where ``SAFERANK_TEST_ELASTICSEARCH_URL`` and ``SAFERANK_TEST_BROKER_URL`` name
services, as for the tests, these are taken in the place of the stack that a page starts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pages import ROOT, blocks, typed

LEFT_OUT = ("python3 -m venv", "pip install", ".venv/bin/pip", ". .venv/bin/activate")
# Numbers may differ in their last digits from processor to processor.
ROOM = 0.02
SERVICES = {
    variable.replace("_TEST", ""): os.environ[variable]
    for variable in ("SAFERANK_TEST_ELASTICSEARCH_URL", "SAFERANK_TEST_BROKER_URL")
    if variable in os.environ
}
END = "end of a command"


def names(page: Path) -> dict[str, str]:
    """File name → text, of the samples that the page has the reader save."""
    text, found = page.read_text(), {}
    for block in blocks("python", "yaml", page=page):
        before = text[: text.index(block.text)]
        first = re.match(r"# (\w+\.py)", block.text)
        (*_, said) = re.findall(r"[Ss]ave as `([\w.]+)`", before) or [""]
        found[first[1] if first else said] = block.text
    return found


class Shell:
    """One shell for the whole page: variables and jobs last."""

    def __init__(self, folder: Path) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, **SERVICES, "PATH": path, "COLUMNS": "112", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, line: str) -> str:
        """What a line prints."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{line}\necho; echo '{END}'\n")
        self._bash.stdin.flush()
        printed = []
        while (text := self._bash.stdout.readline().rstrip("\n")) != END:
            if not text and self._bash.poll() is not None:
                raise SystemExit(f"the shell ended at: {line}")
            printed.append(text)
        return "\n".join(printed)

    def close(self) -> None:
        """End it."""
        self._bash.communicate()


def words(text: str) -> list[str]:
    """What is to be the same, of what is printed; a word that is cut off is not."""
    text = re.sub(r"[┏━┳┓┃┡╇┩│└─┴┘├┼┤]", " ", text)
    differs = r"127\.0\.0\.1|file:|_at\""
    lines = [line for line in text.splitlines() if not re.search(differs, line)]
    return [word for word in " ".join(lines).split() if "…" not in word]


def alike(shown: str, real: str) -> bool:
    """Whether two words are the same, or numbers that are nearly the same."""
    if shown == real:
        return True
    try:
        return abs(float(shown.strip(",")) - float(real.strip(","))) <= ROOM
    except ValueError:
        return False


def same(shown: str, real: str) -> bool:
    """Whether what the page shows is what is printed, or a part of it where a line is "…"."""
    expected, found = words(shown), words(real)
    if any(line.strip() == "…" for line in shown.splitlines()):
        return all(any(alike(one, other) for other in found) for one in expected)
    return len(expected) == len(found) and all(map(alike, expected, found))


def main(page: Path) -> int:
    """Do what the page says; 1 where something is not as it says."""
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in names(page).items():
            (folder / file).write_text(text)
        shell = Shell(folder)
        for block in blocks("console", "bash", page=page):
            for line, shown in typed(block):
                if line.startswith(LEFT_OUT) or ("saferank stack" in line and SERVICES):
                    continue
                begun = time.monotonic()
                real = shell.run(line)
                if "--queue" in line:  # The page says: a few seconds later.
                    time.sleep(20)
                right = not shown or same(shown, real)
                faults += not right
                print(f"{time.monotonic() - begun:6.1f} s  {'ok ' if right else 'NOT'} {line}")
                for title, text in (("prints", real), ("is shown with", shown)):
                    if not right or (not shown and text.strip()):
                        print(f"  {title}", *text.splitlines(), sep="\n    ")
        shell.close()
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
