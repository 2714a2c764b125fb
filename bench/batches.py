"""The suite of bulk work: items a second, with every answer in a journal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from measuring import Samples, measure_in_rounds, open_workers
from peers import ASYNC_BATCH, BATCH, BATCH_IN_TWO, BATCH_PEERS, OURS_LOCAL, SESSIONS, URLLIB3
from suites import Ratio, Report, Size, build_ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loopback import Loopback
    from measuring import Key, Worker
    from peers import Peer

_THREADS = 128
_WAITS = {"instant": 0, "50 ms": 50}
#: async-batch-llm makes this much fewer of them.
_GENERATED_SHARE = 50
_MIB = 1024


def batch(server: Loopback, size: Size) -> Report:
    """Measure bulk work beside async-batch-llm, and beside HTTP libraries in a pool of threads without a journal."""
    ratios: list[Ratio] = []
    columns: list[str] = []
    rows: dict[str, list[float | None]] = {peer.name: [] for peer in BATCH_PEERS}
    missing: dict[str, str] = {}
    for wait, wait_ms in _WAITS.items():
        measure = partial(_measure_calls, server, wait_ms, size.costly_rounds)
        samples = measure(BATCH_PEERS, size.batch_items)
        processes = measure((BATCH, BATCH_IN_TWO), size.process_items)
        columns += [f"items/s, {wait}", f"CPU ms, {wait}"]
        for name, values in rows.items():
            cpu_s = samples.median((name, "cpu"))
            values += [samples.median((name, "rate")), None if cpu_s is None else cpu_s * 1000]
        ratios += _build_call_ratios(samples, wait) + _build_process_ratios(processes, wait)
        missing |= samples.missing | processes.missing
    generated, peaks = _measure_generated(server, size)
    columns += ["items/s, generated", "peak MiB, generated"]
    for name, values in rows.items():
        values += [generated.median((name, "rate")), peaks.get(name)]
    ratios += _build_generated_ratios(generated, peaks)
    missing |= generated.missing
    title = f"Bulk work, {_THREADS} threads ({size.batch_items:,} items)"
    measured_rows = [(name, values) for name, values in rows.items() if any(values)]
    made, made_by_peer = size.generated_items, size.generated_items // _GENERATED_SHARE
    notes = [
        "pollux-batch and async-batch-llm keep every answer in SQLite with full durability; the others keep none",
        "pollux-local is run_many",
        f"in two processes is compared over {size.process_items:,} items: to start them takes part of a second",
        "pollux-batch begins with eight calls in flight and adds more while that helps; the others begin with 128",
        f"generated: the process makes {made:,} answers itself, sends nothing, and keeps them in the same way",
        f"async-batch-llm is measured with {made_by_peer:,} generated answers",
        "the target for generated items/s is absolute, and so depends on the machine",
    ]
    return Report("batch", title, columns, measured_rows, ratios, missing, notes)


def _measure_calls(server: Loopback, wait_ms: int, rounds: int, peers: Sequence[Peer], count: int) -> Samples:
    """Return the items a second and the CPU seconds of an item, for each peer."""
    cpu: dict[Key, list[float]] = {}

    def turn(name: str, worker: Worker) -> float:
        cost = worker.run_task("many", count=count)
        cpu.setdefault((name, "cpu"), []).append(cost["cpu_s"] / count)
        return count / cost["wall_s"]

    with open_workers(peers, server.base_url(wait_ms), _THREADS) as (running, missing):
        turns = {(name, "rate"): partial(turn, name, worker) for name, worker in running.items()}
        samples = measure_in_rounds(turns, rounds)
    # The first sample of each is that of the warm-up.
    samples.values |= {key: values[1:] for key, values in cpu.items() if key[0] not in samples.missing}
    samples.missing |= missing
    return samples


def _build_call_ratios(samples: Samples, wait: str) -> list[Ratio]:
    ratios: list[Ratio] = []
    for ours, theirs, target in (
        (BATCH, ASYNC_BATCH, 7.0),
        (BATCH, SESSIONS, 1.6),
        (BATCH, URLLIB3, 0.65),
        (BATCH, OURS_LOCAL, None),
    ):
        what = f"{ours.name} / {theirs.name}, items/s: {wait}"
        ratios += build_ratios(samples, what, (ours.name, "rate"), (theirs.name, "rate"), target, at_least=True)
    what = f"{BATCH.name} / {OURS_LOCAL.name} run_many, CPU: {wait}"
    return ratios + build_ratios(samples, what, (BATCH.name, "cpu"), (OURS_LOCAL.name, "cpu"), 1.5)


def _build_process_ratios(samples: Samples, wait: str) -> list[Ratio]:
    what = f"{BATCH_IN_TWO.name} / {BATCH.name}, items/s: {wait}"
    ours, theirs = (BATCH_IN_TWO.name, "rate"), (BATCH.name, "rate")
    return build_ratios(samples, what, ours, theirs, 1.25, at_least=True)


def _measure_generated(server: Loopback, size: Size) -> tuple[Samples, dict[str, float]]:
    """Return the items a second where no answer is waited for, and the peak MiB of the process."""
    peaks: dict[str, float] = {}

    def turn(name: str, worker: Worker, count: int) -> float:
        cost = worker.run_task("generated", count=count)
        peaks[name] = cost["peak_kib"] / _MIB
        return count / cost["wall_s"]

    counts = {BATCH: size.generated_items, ASYNC_BATCH: size.generated_items // _GENERATED_SHARE}
    with open_workers(counts, server.base_url(), _THREADS) as (running, missing):
        turns: dict[Key, Callable[[], float]] = {
            (peer.name, "rate"): partial(turn, peer.name, running[peer.name], count)
            for peer, count in counts.items()
            if peer.name in running
        }
        samples = measure_in_rounds(turns, 1, warm_up=False)
    samples.missing |= missing
    return samples, peaks


def _build_generated_ratios(samples: Samples, peaks: dict[str, float]) -> list[Ratio]:
    ours, theirs = (BATCH.name, "rate"), (ASYNC_BATCH.name, "rate")
    ratios = build_ratios(samples, f"{BATCH.name} / {ASYNC_BATCH.name}, items/s: generated", ours, theirs, None)
    if ours in samples.values:
        ratios += [
            Ratio(f"{BATCH.name}, items/s: generated", samples.values[ours], 10_000, at_least=True),
            Ratio(f"{BATCH.name}, peak MiB: generated", [peaks[BATCH.name]], 100),
        ]
    return ratios
