"""The suites of measurements. Each returns a `Report`: rows for reading, and ratios with their targets."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measuring import Samples, measure_command, measure_in_rounds, measure_one_shot, open_worker, open_workers
from peers import (
    ANTHROPIC,
    CHAT,
    GENAI,
    OPENAI,
    OURS_ANTHROPIC,
    OURS_CLIENT,
    OURS_GEMINI,
    OURS_LOCAL,
    OURS_OPENAI,
    OURS_OPENROUTER,
    PEERS,
    REQUESTS,
    MissingPeerError,
    Peer,
    find_python,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopback import Loopback
    from measuring import Key

THREADS = 6  # the default of request_concurrency, and of the peers' pools here
SLOW_SHARE = 10  # slow peers make this much fewer calls
BARE = Peer("bare python", "")
#: The command line, which answers offline.
COMMAND = Peer("pollux-sync run --mock", "")
_COMMAND = ("run", "Who built the lighthouse?", "--mock")
_MAX_COMMAND = 100 / 11
_SOME_THREADS, _MANY_THREADS = 32, 128
_WAIT_MS = 50
_BLOCK = bytes(range(250)) * 4000  # 1 MB


@dataclass(frozen=True)
class Size:
    """The amounts of a full run or of ``--quick``. ``rounds`` applies to the cheap suites."""

    rounds: int
    costly_rounds: int
    calls: int
    throughput_calls: int
    streams: int
    memory_prompts: int
    file_bytes: int
    file_calls: int
    batch_items: int
    process_items: int
    generated_items: int
    durable_steps: int
    durable_turns: int
    durable_runs: int
    fleet_items: int


FULL = Size(
    rounds=15,
    costly_rounds=5,
    calls=200,
    throughput_calls=1000,
    streams=10,
    memory_prompts=20_000,
    file_bytes=10**9,
    file_calls=200,
    batch_items=3_000,
    process_items=10_000,
    generated_items=1_000_000,
    durable_steps=300,
    durable_turns=50,
    durable_runs=10_000,
    fleet_items=20_000,
)
QUICK = Size(
    rounds=3,
    costly_rounds=3,
    calls=100,
    throughput_calls=500,
    streams=5,
    memory_prompts=2_000,
    file_bytes=10**8,
    file_calls=50,
    batch_items=1_000,
    process_items=3_000,
    generated_items=50_000,
    durable_steps=100,
    durable_turns=20,
    durable_runs=500,
    fleet_items=3_000,
)


@dataclass(frozen=True)
class Ratio:
    """A comparison named ``what``: a value per round. The target is an upper bound, with ``at_least`` a lower one."""

    what: str
    values: list[float]
    target: float | None
    at_least: bool = False

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        if self.target is None:
            return None
        return self.median >= self.target if self.at_least else self.median <= self.target


@dataclass(frozen=True)
class Report:
    """One table. ``columns`` name the values of a row after the name of the peer; None was not measured."""

    name: str
    title: str
    columns: list[str]
    rows: list[tuple[str, list[float | None]]]
    ratios: list[Ratio] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return {**asdict(self), "ratios": [asdict(r) | {"median": r.median, "is_met": r.is_met} for r in self.ratios]}


def build_ratios(
    samples: Samples, what: str, above: Key, below: Key, target: float | None, *, at_least: bool = False
) -> list[Ratio]:
    values = samples.ratios(above, below)
    return [Ratio(what, values, target, at_least)] if values else []


def _build_rows(samples: Samples, peers: tuple[Peer, ...], tasks: list[str], scale: float) -> list:
    rows = []
    for peer in peers:
        medians = [samples.median((peer.name, task)) for task in tasks]
        if any(value is not None for value in medians):
            rows.append((peer.name, [None if value is None else value * scale for value in medians]))
    return rows


def cpu_per_call(server: Loopback, size: Size) -> Report:
    """Measure the CPU of one call over kept connections."""

    def turn(worker: object, task: str, count: int) -> float:
        return worker.run_task(task, count=count)["cpu_s"] / count

    with open_workers(PEERS, server.base_url(), THREADS) as (running, missing):
        turns: dict[Key, Callable[[], float]] = {}
        for peer in PEERS:
            if peer.name in running:
                count = size.calls // SLOW_SHARE if peer.slow else size.calls
                for task in ("loop", "many"):
                    turns[peer.name, task] = partial(turn, running[peer.name], task, count)
        samples = measure_in_rounds(turns, size.rounds)
    return Report(
        "cpu_per_call",
        f"CPU per call, ms ({size.calls} calls)",
        ["one by one", f"many ({THREADS} threads)"],
        _build_rows(samples, PEERS, ["loop", "many"], 1000),
        _build_cpu_ratios(samples),
        missing | samples.missing,
    )


def _build_cpu_ratios(samples: Samples) -> list[Ratio]:
    ratios: list[Ratio] = []
    for ours, theirs, target in (
        (OURS_OPENAI, OPENAI, 0.40),
        (OURS_CLIENT, OPENAI, 0.70),
        (OURS_ANTHROPIC, ANTHROPIC, 0.50),
        (OURS_GEMINI, GENAI, 0.50),
        (OURS_LOCAL, REQUESTS, 0.80),
        (OURS_OPENROUTER, REQUESTS, 0.80),
    ):
        one, many = (ours.name, "loop"), (ours.name, "many")
        bare, pooled = (theirs.name, "loop"), (theirs.name, "many")
        ratios += build_ratios(samples, f"{ours.name} run / {theirs.name} one by one", one, bare, target)
        ratios += build_ratios(samples, f"{ours.name} run_many / {theirs.name} in a pool", many, pooled, target)
        ratios += build_ratios(samples, f"{ours.name} run_many / {theirs.name} one by one", many, bare, None)
        what = f"{ours.name} single run() / run_many"
        ratios += build_ratios(samples, what, one, many, 1.2)
    return ratios


def throughput(server: Loopback, size: Size) -> Report:
    """Measure the calls per second of run_many and of SDKs in a pool: 32 and 128 threads, instant answers and 50 ms."""
    peers = (OURS_OPENAI, OPENAI, OURS_LOCAL, REQUESTS)
    columns, rows, ratios, notes = [], {peer.name: [] for peer in peers}, [], []
    missing: dict[str, str] = {}
    for wait_ms in (0, _WAIT_MS):
        for threads in (_SOME_THREADS, _MANY_THREADS):
            samples, share = _measure_throughput(server, peers, wait_ms, threads, size)
            columns.append(f"{threads} threads, {f'{wait_ms} ms' if wait_ms else 'instant'}")
            notes.append(f"server's share of a core, {columns[-1]}: at most {share:.0%}")
            missing |= samples.missing
            for name, values in rows.items():
                values.append(samples.median((name, "many")))
            ratios += _build_throughput_ratios(samples, columns[-1], wait_ms, threads)
    measured_rows = [(name, values) for name, values in rows.items() if any(values)]
    return Report("throughput", "Calls per second, wall clock", columns, measured_rows, ratios, missing, notes)


def _measure_throughput(
    server: Loopback, peers: tuple[Peer, ...], wait_ms: int, threads: int, size: Size
) -> tuple[Samples, float]:
    shares: list[float] = []

    def turn(worker: object) -> float:
        cpu_s = server.fetch_stats()["cpu_s"]
        wall_s = worker.run_task("many", count=size.throughput_calls)["wall_s"]
        shares.append((server.fetch_stats()["cpu_s"] - cpu_s) / wall_s)
        return size.throughput_calls / wall_s

    with open_workers(peers, server.base_url(wait_ms), threads) as (running, missing):
        turns = {(name, "many"): partial(turn, worker) for name, worker in running.items()}
        samples = measure_in_rounds(turns, size.costly_rounds)
    samples.missing |= missing
    return samples, max(shares, default=0.0)


def _build_throughput_ratios(samples: Samples, column: str, wait_ms: int, threads: int) -> list[Ratio]:
    target = 2.0 if not wait_ms else (1.8 if threads == _MANY_THREADS else None)
    ratios: list[Ratio] = []
    for ours, theirs, bound in ((OURS_OPENAI, OPENAI, target), (OURS_LOCAL, REQUESTS, None)):
        what = f"{ours.name} / {theirs.name}: {column}"
        ratios += build_ratios(samples, what, (ours.name, "many"), (theirs.name, "many"), bound, at_least=True)
    return ratios


def one_shot(server: Loopback, size: Size) -> Report:
    """Measure the CPU of a script that imports, asks one question and ends."""
    peers = (BARE, *PEERS, COMMAND)
    turns = {(peer.name, "once"): partial(measure_one_shot, peer, server.base_url()) for peer in (BARE, *PEERS)}
    turns[COMMAND.name, "once"] = partial(measure_command, find_python(COMMAND), "-m", "pollux_sync", *_COMMAND)
    samples = measure_in_rounds(turns, size.costly_rounds)
    ratios: list[Ratio] = []
    for ours, theirs, target in (
        (OURS_OPENAI, OPENAI, 0.22),
        (OURS_ANTHROPIC, ANTHROPIC, 0.20),
        (OURS_GEMINI, GENAI, 0.40),
        (OURS_LOCAL, REQUESTS, 1.35),
        (OURS_OPENROUTER, REQUESTS, None),
    ):
        ratios += build_ratios(
            samples, f"{ours.name} / {theirs.env}", (ours.name, "once"), (theirs.name, "once"), target
        )
    what = f"{COMMAND.name} / {BARE.name}"
    ratios += build_ratios(samples, what, (COMMAND.name, "once"), (BARE.name, "once"), _MAX_COMMAND)
    rows = _build_rows(samples, peers, ["once"], 1000)
    return Report("one_shot", "One-shot script, CPU ms", ["import and one call"], rows, ratios, samples.missing)


def streaming(server: Loopback, size: Size) -> Report:
    """Measure the CPU of a streamed token, and the time until the first event."""

    def turn(worker: object, what: str) -> float:
        return worker.run_task("streaming", count=size.streams)[what]

    peers = (OURS_OPENAI, OURS_CLIENT, OPENAI, OURS_LOCAL, CHAT, OURS_ANTHROPIC, ANTHROPIC, OURS_GEMINI, GENAI)
    with open_workers(peers, server.base_url(), THREADS) as (running, missing):
        turns = {
            (name, what): partial(turn, worker, what)
            for name, worker in running.items()
            for what in ("cpu_s", "first_s")
        }
        samples = measure_in_rounds(turns, size.rounds)
    ratios: list[Ratio] = []
    for ours, theirs, cpu, first in (
        (OURS_OPENAI, OPENAI, 0.35, 1.0),
        (OURS_CLIENT, OPENAI, None, None),
        (OURS_LOCAL, CHAT, None, None),
        (OURS_ANTHROPIC, ANTHROPIC, None, None),
        (OURS_GEMINI, GENAI, None, None),
    ):
        for what, key, target in (("CPU per token", "cpu_s", cpu), ("time to first event", "first_s", first)):
            name = f"{ours.name} / {theirs.name}, {what}"
            ratios += build_ratios(samples, name, (ours.name, key), (theirs.name, key), target)
    rows = [
        (name, [None if cost is None else cost * 1e6, None if first is None else first * 1e3])
        for peer in peers
        for name, cost, first in [
            (peer.name, samples.median((peer.name, "cpu_s")), samples.median((peer.name, "first_s")))
        ]
        if cost is not None
    ]
    columns = ["CPU per token, µs", "first event after, ms"]
    title = f"Streams of 500 tokens ({size.streams} each)"
    return Report("streaming", title, columns, rows, ratios, missing | samples.missing)


def memory(server: Loopback, size: Size) -> Report:
    """Measure the peak memory of many prompts, above the memory of the process after its first calls."""
    rows, ratios, missing = [], [], {}
    for peer in PEERS:
        count = size.memory_prompts // SLOW_SHARE if peer.slow else size.memory_prompts
        try:
            with open_worker(peer, server.base_url(), THREADS) as worker:
                cost = worker.run_task("memory", count=count)
        except MissingPeerError as error:
            missing[peer.name] = str(error)
            continue
        peak, kept = cost["peak_kib"] / count, cost["kept_kib"] / count
        rows.append((peer.name, [peak, kept, cost["start_kib"] / 1024]))
        if peer in {OURS_OPENAI, OURS_LOCAL}:
            ratios.append(Ratio(f"{peer.name}, KiB per prompt", [peak], 2.0))
    columns = ["peak KiB per prompt", "kept KiB per prompt", "MiB before"]
    title = f"Memory of {size.memory_prompts:,} prompts"
    slow = ", ".join(peer.name for peer in PEERS if peer.slow)
    notes = [
        "pollux-sync and pollux-ai keep complete results: answers, usage, raw responses; the others keep only texts",
        f"measured with a tenth of the prompts: {slow}",
    ]
    return Report("memory", title, columns, rows, ratios, missing, notes)


def hashing(server: Loopback, size: Size) -> Report:
    """Measure Source.content_sha256 of a large file, which a plan computes before an upload."""
    with tempfile.TemporaryDirectory() as folder, open_worker(OURS_LOCAL, server.base_url(), 1) as worker:
        path = Path(folder, "large.bin")
        write_file(path, size.file_bytes)
        cost = worker.run_task("hashing", path=str(path))
    rows = [("content_sha256", [cost["size_bytes"] / cost["cpu_s"] / 1e9, cost["peak_kib"] / 1024])]
    columns = ["GB per CPU second", "peak MiB"]
    ratio = Ratio("content_sha256, peak MiB", [cost["peak_kib"] / 1024], 4.0)
    return Report("hashing", f"Hashing a file of {size.file_bytes / 1e9:g} GB", columns, rows, [ratio])


def write_file(path: Path, size_bytes: int) -> None:
    """Write real bytes, because reading the holes of a sparse file costs more than reading data."""
    with path.open("wb") as file:
        for _ in range(size_bytes // len(_BLOCK)):
            file.write(_BLOCK)
        file.write(_BLOCK[: size_bytes % len(_BLOCK)])


SUITES = {suite.__name__: suite for suite in (cpu_per_call, throughput, one_shot, streaming, memory, hashing)}
