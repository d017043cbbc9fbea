"""Write the Python samples of each page as a module, for a type checker.

python tools/page_samples.py FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pages import PAGES, ROOT, blocks

# What a page speaks of in its sentences and does not define.
_SPOKEN_OF = {
    "docs/how-to/integrate.md": """
from elasticsearch.dsl import Search

url: str
query: dict[str, object]
words: str
vector: list[float]
context: dict[str, str]
request: object

def context_of(request: object) -> dict[str, str]:
    raise NotImplementedError
""",
    "docs/how-to/spark.md": """
from pyspark.sql import SparkSession

spark: SparkSession
""",
}


def main(folder: Path) -> None:
    """Write a module for each page that has Python in it; old ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    for page in PAGES:
        samples = [block.text for block in blocks("python", page=page)]
        if samples:
            name = str(page.relative_to(ROOT))
            module = re.sub(r"\W", "_", name.removesuffix(".md")).lower()
            text = "\n".join([_SPOKEN_OF.get(name, ""), *samples])
            (folder / f"{module}.py").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
