"""The suite of middleware: what each adds to a call, and all of it together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from measuring import measure_in_rounds, open_workers
from peers import LAYER_PEERS
from suites import THREADS, Report, Size, build_ratios

if TYPE_CHECKING:
    from loopback import Loopback

_MS = 1000


def middleware(server: Loopback, size: Size) -> Report:
    """Measure the CPU of one call with each middleware, with all, and with none."""

    def turn(worker: object, task: str) -> float:
        return worker.run_task(task, count=size.calls)["cpu_s"] / size.calls

    with open_workers(LAYER_PEERS, server.base_url(), THREADS) as (running, missing):
        tasks = ("loop", "many")
        turns = {(name, task): partial(turn, worker, task) for name, worker in running.items() for task in tasks}
        samples = measure_in_rounds(turns, size.rounds)
    bare, *layered = LAYER_PEERS
    rows, ratios = [], []
    for peer in LAYER_PEERS:
        costs = [samples.median((peer.name, task)) for task in tasks]
        rows.append((peer.name, [None if cost is None else cost * _MS for cost in costs]))
    for peer in layered:
        ratios += build_ratios(samples, f"{peer.name} / {bare.name}", (peer.name, "loop"), (bare.name, "loop"), None)
    columns = ["one by one", f"many ({THREADS} threads)"]
    notes = [
        "pollux-otel with the SDK of OpenTelemetry, a BatchSpanProcessor, and an exporter that discards the spans",
        "pollux-cache and pollux-log write each answer to a SQLite file",
    ]
    title = f"Middleware, CPU per call, ms ({size.calls} calls)"
    return Report("middleware", title, columns, rows, ratios, missing | samples.missing, notes)
