"""The suite of files: stored at the service for one or many calls, and inside the requests."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import Samples, measure_in_rounds, measure_one_shot, open_workers
from peers import (
    ANTHROPIC,
    CHAT,
    GENAI,
    OPENAI,
    OURS_ANTHROPIC,
    OURS_GEMINI,
    OURS_LOCAL,
    OURS_OPENAI,
    OURS_OPENROUTER,
)
from suites import THREADS, Ratio, Report, Size, build_ratios, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loopback import Loopback
    from peers import Peer

_INLINE_CALLS = 20
_DOCUMENT, _IMAGE = "document.pdf", "image.png"
_SIZES = {_DOCUMENT: 2_000_000, _IMAGE: 100_000, "shared.pdf": 10_000_000, "large.png": 10_000_000}
_LARGE = "large.pdf"
_MIB = 1024
#: The rows of ours that ask about an image and are compared with their own questions without one.
_PROVIDERS = (OURS_OPENAI, OURS_ANTHROPIC, OURS_GEMINI, OURS_OPENROUTER, OURS_LOCAL)
_MAX_PEAK_MIB = 16.0
_MAX_IMAGE_RATIO = 1.3


@dataclass(frozen=True)
class Case:
    """Calls about one file, by pairs of peers: ours and the one that it is compared with."""

    title: str
    task: str
    file: str
    calls: int
    pairs: tuple[tuple[Peer, Peer], ...]
    target: float | None = None

    @property
    def peers(self) -> list[Peer]:
        return [*dict.fromkeys(peer for pair in self.pairs for peer in pair)]


def _iter_cases(size: Size) -> Iterator[Case]:
    many = f"{size.file_calls} calls about a stored PDF of 10 MB"
    yield Case(f"upload of {size.file_bytes / 1e6:,.0f} MB", "stored", _LARGE, 1, ((OURS_OPENAI, OPENAI),))
    pairs = ((OURS_OPENAI, OPENAI), (OURS_ANTHROPIC, ANTHROPIC))
    yield Case(many, "stored", "shared.pdf", size.file_calls, pairs, 0.50)
    title = f"{_INLINE_CALLS} calls with an image of 10 MB inside"
    yield Case(title, "inline", "large.png", _INLINE_CALLS, ((OURS_OPENAI, OPENAI), (OURS_LOCAL, CHAT)))


def files(server: Loopback, size: Size) -> Report:
    """Measure calls about files, beside SDKs that store the file or encode it for every call."""
    rows: list[tuple[str, list[float | None]]] = []
    ratios: list[Ratio] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size_bytes in {**_SIZES, _LARGE: size.file_bytes}.items():
            write_file(Path(folder, name), size_bytes)
        parts = [_measure_case(server, case, folder, size.costly_rounds) for case in _iter_cases(size)]
        parts += [_measure_scripts(server, folder, size.costly_rounds), _measure_images(server, folder, size)]
    for part in parts:
        rows += part.rows
        ratios += part.ratios
        missing |= part.missing
    notes = ["the growth of memory is the most of all rounds, and includes what the first call imports"]
    return Report("files", "Files, CPU and memory", ["CPU, ms", "peak growth, MiB"], rows, ratios, missing, notes)


def _measure_case(server: Loopback, case: Case, folder: str, rounds: int) -> Report:
    peaks: dict[str, float] = {}

    def turn(name: str, worker: object) -> float:
        cost = worker.run_task(case.task, path=str(Path(folder, case.file)), count=case.calls)
        peaks[name] = max(peaks.get(name, 0.0), cost["peak_kib"] / _MIB)
        return cost["cpu_s"]

    with open_workers(case.peers, server.base_url(), THREADS) as (running, missing):
        turns = {(name, case.title): partial(turn, name, worker) for name, worker in running.items()}
        samples = measure_in_rounds(turns, rounds)
    ratios: list[Ratio] = []
    for ours, theirs in case.pairs:
        what = f"{ours.name} / {theirs.env}: {case.title}"
        ratios += build_ratios(samples, what, (ours.name, case.title), (theirs.name, case.title), case.target)
    if case.file == _LARGE and OURS_OPENAI.name in peaks:
        what = f"{OURS_OPENAI.name}, peak growth in MiB: {case.title}"
        ratios.append(Ratio(what, [peaks[OURS_OPENAI.name]], _MAX_PEAK_MIB))
    rows = [_build_row(samples, peer, case.title, peaks.get(peer.name)) for peer in case.peers]
    return _build_part(rows, ratios, missing | samples.missing)


def _measure_scripts(server: Loopback, folder: str, rounds: int) -> Report:
    titles = {"stored": "one-shot script, stored PDF of 2 MB", "inline": "one-shot script, image of 100 kB inside"}
    paths = {"stored": str(Path(folder, _DOCUMENT)), "inline": str(Path(folder, _IMAGE))}
    pairs = ((OURS_OPENAI, OPENAI), (OURS_ANTHROPIC, ANTHROPIC), (OURS_GEMINI, GENAI))
    peers = [peer for pair in pairs for peer in pair]
    turns = {
        (peer.name, titles[task]): partial(measure_one_shot, peer, server.base_url(), task, paths[task])
        for task in titles
        for peer in peers
    }
    samples = measure_in_rounds(turns, rounds)
    ratios: list[Ratio] = []
    for title in titles.values():
        for ours, theirs in pairs:
            target = 0.35 if (ours, title) == (OURS_OPENAI, titles["inline"]) else 0.40
            what = f"{ours.name} / {theirs.env}: {title}"
            ratios += build_ratios(samples, what, (ours.name, title), (theirs.name, title), target)
    rows = [_build_row(samples, peer, title) for title in titles.values() for peer in peers]
    return _build_part(rows, ratios, samples.missing)


def _measure_images(server: Loopback, folder: str, size: Size) -> Report:
    """Measure a question about an image beside one without, and what hashing and base64 alone cost."""
    path, image, text, alone = str(Path(folder, _IMAGE)), "image of 100 kB inside", "text only", "hash and base64"

    def turn(worker: object, task: str, **arguments: object) -> float:
        return worker.run_task(task, count=size.calls, **arguments)["cpu_s"] / size.calls

    with open_workers(_PROVIDERS, server.base_url(), THREADS) as (running, missing):
        turns = {}
        for name, worker in running.items():
            turns[name, text] = partial(turn, worker, "loop")
            turns[name, image] = partial(turn, worker, "inline_loop", path=path)
            turns[name, alone] = partial(turn, worker, "encoding", path=path)
        samples = measure_in_rounds(turns, size.rounds)
    ratios: list[Ratio] = []
    for peer in _PROVIDERS:
        own = f"{peer.name}: image of 100 kB / text"
        ratios += build_ratios(samples, own, (peer.name, image), (peer.name, text), None)
        costs = [samples.values.get((peer.name, task), []) for task in (image, alone, text)]
        values = [whole / (encoding + bare) for whole, encoding, bare in zip(*costs, strict=False)]
        ratios += [Ratio(f"{own} and hash and base64", values, _MAX_IMAGE_RATIO)] if values else []
    tasks = (text, image, alone)
    rows = [_build_row(samples, peer, task) for peer in _PROVIDERS for task in tasks]
    return _build_part(rows, ratios, missing | samples.missing)


def _build_row(
    samples: Samples, peer: Peer, title: str, peak_mib: float | None = None
) -> tuple[str, list[float | None]]:
    cpu_s = samples.median((peer.name, title))
    return f"{title}: {peer.name}", [None if cpu_s is None else cpu_s * 1000, peak_mib]


def _build_part(rows: list, ratios: list[Ratio], missing: dict[str, str]) -> Report:
    """Return a part of the report, without the rows of peers that could not be measured."""
    return Report("files", "", [], [row for row in rows if row[1][0] is not None], ratios, missing)
