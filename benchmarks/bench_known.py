"""What finding near copies costs and finds: look-ups beside a ``term`` query, and recall by change.

    python benchmarks/bench_known.py lookup --url http://127.0.0.1:9200 --hashes 1000000
    python benchmarks/bench_known.py recall --url http://127.0.0.1:9200 --documents 100000
    python benchmarks/bench_known.py cost

``lookup`` times one hash among many against a ``term`` query on the same index, interleaved.
``recall`` makes 200 harmless pictures known, hides altered copies of them among as many other
pictures, and counts what is found of each change, what is found of anything else, and where
comparing with every known hash finds otherwise. 100,000 documents take some ten minutes.
``cost`` scores photographs of several sizes with and without hashes, interleaved; without a node.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from elasticsearch import Elasticsearch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from saferank.indexer.documents import Document
from saferank.indexer.fetch import Fetched
from saferank.indexer.keys import DocumentKey
from saferank.indexer.pdq import pdq_of, pdqs_of_known
from saferank.indexer.worker.resources import make_pipeline
from saferank.mappings.known import FARTHEST, KnownPicture, Near, as_bits, distances
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.record import Override
from saferank.settings import IndexerSettings, Settings

INDEX = "bench-known"
ROUNDS = 200
AT_ONCE = 64  # documents, as in a worker's chunk
FILLER = 96  # pixels
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
    """Photographs that come with packages, and large windows of them; of which each is.

    Only such as have enough in them to be known ones.
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "camera", "coffee", "chelsea", "rocket", "moon", "coins", "brick")
    whole = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    whole += [Image.fromarray(one) for one in load_sample_images().images]
    dice = np.random.default_rng(5)
    whole = [one for one in whole if pdqs_of_known(one)]
    found, places = list(whole), list(range(len(whole)))
    while len(found) < count:
        place = int(dice.integers(len(whole)))
        one = whole[place]
        share = dice.uniform(0.45, 0.7)
        width, height = int(one.width * share), int(one.height * share)
        left = int(dice.integers(one.width - width))
        top = int(dice.integers(one.height - height))
        window = one.crop((left, top, left + width, top + height))
        if pdqs_of_known(window):
            found.append(window)
            places.append(place)
    return found[:count], places[:count]


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return file.getvalue()


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(as_jpeg(image, quality)))


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


def synthetic(count: int) -> Iterator[Image.Image]:
    """Harmless pictures, no two the same: noise of several sizes, laid over each other."""
    for number in range(count):
        dice = np.random.default_rng([11, number])
        layers = (
            Image.fromarray(dice.integers(0, 256, (cells, cells, 3), np.uint8)).resize(
                (FILLER, FILLER), Image.Resampling.BICUBIC
            )
            for cells in (3, 5, 9, 17)
        )
        whole = next(layers)
        for share, layer in zip((0.5, 0.4, 0.3), layers, strict=True):
            whole = Image.blend(whole, layer, share)
        yield whole


def nearest_known(
    hashes: Sequence[str], bits: NDArray[np.uint8], owners: NDArray[np.int64]
) -> list[set[int]]:
    """By comparing with each: the known pictures within ``FARTHEST`` of each hash."""
    words = np.ascontiguousarray(bits).view(np.uint64)
    found = []
    for one in as_bits(hashes).view(np.uint64):
        apart = np.bitwise_count(words ^ one).sum(axis=1)
        found.append(set(owners[apart <= FARTHEST].tolist()))
    return found


def recall(client: Elasticsearch, documents: int, pictures: int) -> Table:
    known, dice = KnownIndex(client, INDEX), np.random.default_rng(7)
    originals, places = photographs(pictures)
    own = [pdqs_of_known(one) for one in track(originals, "known pictures")]
    store(
        known,
        (
            KnownPicture(f"x:{n}", Override.BLOCK, hashes=one, origin="x", by="bench")
            for n, one in enumerate(own)
        ),
    )
    planted = [
        (name, number, pdq_of(copy))
        for number, image in enumerate(track(originals, "copies"))
        for name, copy in zip(CHANGES, changed(image, dice), strict=True)
    ]
    others = documents - len(planted)
    fillers = [pdq_of(one) for one in track(synthetic(others), "others", total=others)]
    bits = np.concatenate([as_bits(one) for one in own])
    owners = np.repeat(np.arange(pictures), [len(one) for one in own])
    found, wrong, missed = dict.fromkeys(CHANGES, 0), 0, 0
    asked = [*planted, *(("", -1, one) for one in fillers)]
    taken: list[float] = []
    for start in track(range(0, len(asked), AT_ONCE), "documents"):
        some = [one for one in asked[start : start + AT_ONCE] if one[2]]
        answer: dict[str, list[Near]] = {}
        hashes = [one for _, _, one in some]
        taken.append(
            milliseconds(lambda hashes=hashes, answer=answer: answer.update(known.near(hashes)))
        )
        everyone = nearest_known(hashes, bits, owners)
        for (name, number, one), by_each in zip(some, everyone, strict=True):
            ids = {int(near.known[2:]) for near in answer.get(one, [])}
            missed += ids != by_each
            if name:
                found[name] += number in ids
            wrong += any(not name or places[id] != places[number] for id in ids)
    table = Table("change", "found", title=f"{pictures} known pictures", box=None)
    for name, count in found.items():
        table.add_row(name, f"{count / pictures:.1%}")
    usable = sum(map(bool, fillers))
    table.add_row("other documents, and those with enough in them", f"{others:,}, {usable:,}")
    table.add_row(
        f"of {usable * pictures:,} pairs with these, and copies, found wrongly", str(wrong)
    )
    table.add_row("documents where comparing with each finds others", str(missed))
    table.add_row("look-up of a chunk, ms a document", f"{sum(taken) / len(asked):.2f}")
    different = photograph_pairs(own, [pdq_of(one) for one in originals], places)
    table.add_row(
        f"of {different[0]:,} pairs of different photographs, within {FARTHEST}", str(different[1])
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


def cost(rounds: int) -> Table:
    """What hashes add to decoding and scoring of JPEGs, on one core."""
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(one) for one in load_sample_images().images]
    settings = Settings(model="open_nsfw", indexer=IndexerSettings(digests=0, threads=1))
    data: list[bytes] = []
    ways = {
        known: make_pipeline(
            settings.model_copy(update={"known": known}),
            fetch=lambda name: Fetched(data[int(name)]),
        )
        for known in (None, "known")
    }
    table = Table("pixels", "without, ms", "with, ms", "ratio", box=None)
    for size in ((640, 480), (1600, 1200), (4000, 3000)):
        data[:] = [as_jpeg(one.resize(size), 85 + n) for n in range(4) for one in whole]
        documents = [Document(DocumentKey(str(n)), references=(str(n),)) for n in range(len(data))]
        taken: dict[str | None, list[float]] = {known: [] for known in ways}
        for _ in range(rounds):
            for known, pipeline in ways.items():
                took = milliseconds(partial(pipeline.score, documents))
                taken[known].append(took / len(data))
        without, with_hashes = map(statistics.median, taken.values())
        ratio = statistics.median(b / a for a, b in zip(*taken.values(), strict=True))
        pixels = f"{size[0]} × {size[1]}"
        table.add_row(pixels, f"{without:.1f}", f"{with_hashes:.1f}", f"{ratio:.3f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("lookup", "recall", "cost"))
    parser.add_argument("--url", default="http://127.0.0.1:9200")
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    if asked.what == "cost":
        Console().print(cost(asked.rounds))
        return
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
