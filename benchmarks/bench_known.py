"""What finding near copies costs and finds: look-ups beside a ``term`` query, and recall by change.

    python benchmarks/bench_known.py lookup --url http://127.0.0.1:9200 --hashes 1000000
    python benchmarks/bench_known.py recall --url http://127.0.0.1:9200 --documents 100000

``lookup`` times one hash among many against a ``term`` query on the same index, interleaved.
``recall`` makes 200 harmless pictures known, hides altered copies of them among as many hashes of
other documents, and counts what is found of each change, and what is found of anything else.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
from elasticsearch import Elasticsearch
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.indexer.pdq import pdq_of, pdqs_of_known
from saferank.mappings.known import FARTHEST, KnownPicture, as_bits, distances
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.record import Override

INDEX = "bench-known"
ROUNDS = 200
CHANGES = (
    *("jpeg, quality 30", "jpeg, quality 70", "0.8 of the size", "0.4 of the size", "a quarter"),
    *("twice the size",),
    *("grey", "mirrored", "cropped by 2 %", "cropped by 5 %", "cropped by 5 %, off the middle"),
)


def random_hashes(count: int, seed: int) -> list[str]:
    bits = np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)
    return [row.tobytes().hex() for row in bits]


def store(known: KnownIndex, pictures: Iterator[KnownPicture]) -> None:
    known.install()
    known.put(pictures)


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def lookup(client: Elasticsearch, count: int) -> Table:
    known = KnownIndex(client, INDEX)
    hashes = random_hashes(count, 1)
    store(
        known,
        (
            KnownPicture(f"x:{one}", Override.BLOCK, hashes=(one,), origin="x", by="bench")
            for one in hashes
        ),
    )
    asked = random_hashes(ROUNDS, 2)
    taken: dict[str, list[float]] = {"near": [], "term": []}
    for one in asked:
        query = {"term": {"key": f"x:{one}"}}
        taken["near"].append(milliseconds(lambda one=one: known.near([one])))
        taken["term"].append(
            milliseconds(lambda query=query: client.search(index=INDEX, query=query, size=1))
        )
    table = Table("look-up", "median ms", "p95 ms", title=f"{count:,} hashes", box=None)
    for way, times in taken.items():
        p95 = statistics.quantiles(times, n=20)[-1]
        table.add_row(way, f"{statistics.median(times):.2f}", f"{p95:.2f}")
    near, term = taken["near"], taken["term"]
    ratios = (
        statistics.median(near) / statistics.median(term),
        statistics.quantiles(near, n=20)[-1] / statistics.quantiles(term, n=20)[-1],
    )
    table.add_row("ratio", *(f"{ratio:.1f}" for ratio in ratios))
    return table


def photographs(count: int) -> tuple[list[Image.Image], list[int]]:
    """Photographs that come with packages, and large windows of them; of which each is."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "camera", "coffee", "chelsea", "rocket", "moon", "coins", "brick")
    whole = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    whole += [Image.fromarray(one) for one in load_sample_images().images]
    dice = np.random.default_rng(5)
    whole = [one for one in whole if pdq_of(one)]
    found, places = list(whole), list(range(len(whole)))
    while len(found) < count:
        place = int(dice.integers(len(whole)))
        one = whole[place]
        share = dice.uniform(0.45, 0.7)
        width, height = int(one.width * share), int(one.height * share)
        left = int(dice.integers(one.width - width))
        top = int(dice.integers(one.height - height))
        window = one.crop((left, top, left + width, top + height))
        if pdq_of(window):
            found.append(window)
            places.append(place)
    return found[:count], places[:count]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file)


def cropped(image: Image.Image, cut: float, place: tuple[float, float]) -> Image.Image:
    across, down = round(image.width * cut), round(image.height * cut)
    left, top = round(across * place[0]), round(down * place[1])
    box = (left, top, left + image.width - across, top + image.height - down)
    return jpeg(image.crop(box), 85)


def changed(image: Image.Image, dice: np.random.Generator) -> list[Image.Image]:
    """The picture after each of the changes."""
    width, height = image.size
    off = (float(dice.uniform()), float(dice.uniform()))
    return [
        jpeg(image, 30),
        jpeg(image, 70),
        jpeg(image.resize((width * 4 // 5, height * 4 // 5)), 85),
        jpeg(image.resize((width * 2 // 5, height * 2 // 5)), 85),
        jpeg(image.resize((width // 4, height // 4)), 85),
        jpeg(image.resize((2 * width, 2 * height)), 85),
        image.convert("L"),
        jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 85),
        cropped(image, 0.02, (0.5, 0.5)),
        cropped(image, 0.05, (0.5, 0.5)),
        cropped(image, 0.05, off),
    ]


def recall(client: Elasticsearch, documents: int, pictures: int) -> Table:
    known, dice = KnownIndex(client, INDEX), np.random.default_rng(7)
    originals, places = photographs(pictures)
    own = [pdqs_of_known(one) for one in originals]
    store(
        known,
        (
            KnownPicture(f"x:{n}", Override.BLOCK, hashes=one, origin="x", by="bench")
            for n, one in enumerate(own)
        ),
    )
    found = dict.fromkeys(CHANGES, 0)
    missed = 0
    for number, image in enumerate(originals):
        hashes = [pdq_of(one) for one in changed(image, dice)]
        answer = known.near([one for one in hashes if one])
        for name, one in zip(CHANGES, hashes, strict=True):
            ids = {near.known for near in answer.get(one, [])}
            found[name] += f"x:{number}" in ids
            if one:
                # All that comparing with each finds, and no more.
                everyone = {
                    f"x:{n}"
                    for n, kept in enumerate(own)
                    if (distances(one, as_bits(kept)) <= FARTHEST).any()
                }
                missed += len(everyone ^ ids)
    table = Table("change", "found", title=f"{pictures} known pictures", box=None)
    for name, count in found.items():
        table.add_row(name, f"{count / pictures:.1%}")
    others = random_hashes(documents, 9)
    wrong = 0
    for start in range(0, documents, 1000):
        wrong += sum(map(len, known.near(others[start : start + 1000]).values()))
    table.add_row(f"of {documents:,} others, found", str(wrong))
    table.add_row("differs from comparing with each", str(missed))
    different = photograph_pairs(own, [pdq_of(one) for one in originals], places)
    table.add_row(
        f"of {different[0]:,} pairs of different photographs, within 31", str(different[1])
    )
    return table


def photograph_pairs(
    known: list[tuple[str, ...]], plain: list[str], places: list[int]
) -> tuple[int, int]:
    """Pairs of a known hash and a picture out of another photograph, and those that are near."""
    pairs = near = 0
    bits, of = as_bits(plain), np.asarray(places)
    for place, hashes in zip(places, known, strict=True):
        for one in hashes:
            apart = distances(one, bits[of != place])
            pairs += len(apart)
            near += int((apart <= FARTHEST).sum())
    return pairs, near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("lookup", "recall"))
    parser.add_argument("--url", default="http://127.0.0.1:9200")
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=200)
    asked = parser.parse_args()
    with Elasticsearch(asked.url, request_timeout=120) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        try:
            table = (
                lookup(client, asked.hashes)
                if asked.what == "lookup"
                else recall(client, asked.documents, asked.pictures)
            )
        finally:
            client.indices.delete(index=INDEX, ignore_unavailable=True)
    Console().print(table)


if __name__ == "__main__":
    main()
