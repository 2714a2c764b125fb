"""The suite of durable work: what a recorded step, model call and agent turn cost, and what waiting runs hold."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from databases import run_postgresql
from measuring import Samples, measure_in_rounds, open_worker, open_workers
from peers import (
    DBOS,
    DBOS_LIKE_OURS,
    DURABLE,
    DURABLE_FLEET,
    DURABLE_STREAM,
    PYDANTIC_AI,
    PYDANTIC_AI_WAL,
    MissingPeerError,
)
from suites import Ratio, Report, Size, build_ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loopback import Loopback
    from measuring import Key, Worker
    from peers import Peer

_THREADS = 1
_WAITING_RUNS = 1_000
_IDLE_S = 10.0
#: A reader has looked for a run so long before it begins.
_READER_AHEAD_S = 0.5
_FLEET_WAIT_MS, _FLEET_ROUNDS = 50, 3
#: The threads of a worker of a fleet: its calls in flight.
_FLEET_THREADS = 32
_MB_OF_KIB = 1024 / 1e6
_STEP, _CALL, _TURN, _RUN = "plain step", "model-call step", "agent turn", "run of one step"
_NOTES = (
    "each database is a SQLite file; dbos and pydantic-ai without a further word are as they come out of the box",
    "our database settings: WAL, synchronous=NORMAL; for dbos, our JSON serializer too",
    "plain step: `ctx.step.run` and `DBOS.run_step` call the same function; the workflow itself is left out",
    "model-call step: both make the same HTTP call by pollux-local, which is part of the figures",
    "model-call step: ours keeps the answer and the key of its request, dbos the text of `pollux_sync.run`",
    "agent turn: a whole run with one call, Chat Completions; pydantic-ai has DBOSDurability in a workflow of dbos",
    "first token: from the beginning of a stream until a process that carries nothing out has the first text",
    f"fleet: a job of pollux-batch on a server that answers after {_FLEET_WAIT_MS} ms; one PostgreSQL",
    f"waiting: {_WAITING_RUNS:,} runs in `ctx.step.suspend`; the memory is that above the process after its first run",
    f"waiting: idle for {_IDLE_S:g} s, then answered one after the other; batch.answer answers as many again together",
    "targets of runs/s, ms, MB, threads, % and s are absolute, and so depend on the machine",
)


def durable(server: Loopback, size: Size) -> Report:
    """Measure pollux-durable beside dbos and pydantic-ai; every figure comes from processes of its own."""
    parts = [
        _measure_steps(server, size),
        _measure_model_calls(server, size),
        _measure_turns(server, size),
        _measure_runs(server, size),
        _measure_first_token(server, size),
        _measure_waiting(server),
        _measure_fleet(server, size),
    ]
    return Report(
        "durable",
        f"Durable work ({size.durable_steps} steps, {size.durable_turns} turns, {size.durable_runs:,} runs)",
        ["ms", "CPU ms"],
        [row for part in parts for row in part.rows],
        [ratio for part in parts for ratio in part.ratios],
        {name: why for part in parts for name, why in part.missing.items()},
        [*_NOTES],
    )


def _measure_steps(server: Loopback, size: Size) -> Report:
    peers = (DURABLE, DBOS_LIKE_OURS, DBOS)
    samples = _measure_costs(server, peers, "steps", size.durable_steps, size.rounds)
    ratios = _build_cost_ratios(samples, _STEP, DURABLE, DBOS_LIKE_OURS, time_target=1.2)
    what = f"{DBOS.name} / {DURABLE.name}, time: {_STEP}"
    ratios += build_ratios(samples, what, (DBOS.name, "time"), (DURABLE.name, "time"), 1.5, at_least=True)
    return _build_part(samples, _STEP, peers, ratios)


def _measure_model_calls(server: Loopback, size: Size) -> Report:
    peers = (DURABLE, DBOS_LIKE_OURS)
    samples = _measure_costs(server, peers, "model_calls", size.durable_steps, size.rounds)
    return _build_part(
        samples, _CALL, peers, _build_cost_ratios(samples, _CALL, DURABLE, DBOS_LIKE_OURS, time_target=1.7)
    )


def _measure_turns(server: Loopback, size: Size) -> Report:
    peers = (DURABLE, PYDANTIC_AI_WAL, PYDANTIC_AI)
    samples = _measure_costs(server, peers, "loop", size.durable_turns, size.rounds)
    ratios = _build_cost_ratios(samples, _TURN, DURABLE, PYDANTIC_AI_WAL, time_target=0.8, cpu_target=0.5)
    ratios += _build_cost_ratios(samples, _TURN, DURABLE, PYDANTIC_AI, time_target=0.3)
    return _build_part(samples, _TURN, peers, ratios)


def _measure_costs(server: Loopback, peers: Sequence[Peer], task: str, count: int, rounds: int) -> Samples:
    """Return the seconds and the CPU seconds of one of ``count`` for each peer."""
    cpu: dict[Key, list[float]] = {}

    def turn(name: str, worker: Worker) -> float:
        cost = worker.run_task(task, count=count)
        cpu.setdefault((name, "cpu"), []).append(cost["cpu_s"] / count)
        return cost["wall_s"] / count

    with open_workers(peers, server.base_url(), _THREADS) as (running, missing):
        turns = {(name, "time"): partial(turn, name, worker) for name, worker in running.items()}
        samples = measure_in_rounds(turns, rounds)
    # The first sample of each is that of the warm-up.
    samples.values |= {key: values[1:] for key, values in cpu.items() if key[0] not in samples.missing}
    samples.missing |= missing
    return samples


def _build_cost_ratios(
    samples: Samples, title: str, ours: Peer, theirs: Peer, *, time_target: float, cpu_target: float | None = None
) -> list[Ratio]:
    what = f"{ours.name} / {theirs.name}"
    ratios: list[Ratio] = []
    for name, key, target in (("time", "time", time_target), ("CPU", "cpu", cpu_target)):
        ratios += build_ratios(samples, f"{what}, {name}: {title}", (ours.name, key), (theirs.name, key), target)
    return ratios


def _measure_runs(server: Loopback, size: Size) -> Report:
    """Measure many runs of one step each, started and waited for by `batch.run`."""
    count, warm_up = size.durable_runs, size.durable_runs // 50
    try:
        with open_worker(DURABLE, server.base_url(), _THREADS) as worker:
            worker.run_task("runs", count=warm_up)
            cost = worker.run_task("runs", count=count)
    except MissingPeerError as error:
        return _report_missing(f"{DURABLE.name}, {_RUN}", error)
    key = DURABLE.name
    samples = Samples({(key, "time"): [cost["wall_s"] / count], (key, "cpu"): [cost["cpu_s"] / count]})
    rate = Ratio(f"{key}, runs/s: batch.run of {count:,}", [count / cost["wall_s"]], 250, at_least=True)
    return _build_part(samples, _RUN, (DURABLE,), [rate])


def _measure_first_token(server: Loopback, size: Size) -> Report:
    """Measure when a reader in another process sees the first text of an agent."""
    peer = DURABLE_STREAM
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_worker(peer, server.base_url(), _THREADS) as writer,
            open_worker(peer, server.base_url(), _THREADS) as reader,
        ):
            path = str(Path(folder, "runs.db"))
            writer.run_task("writing", path=path, execution_id="first")  # makes the file
            take_turn = partial(_read_first_token, server, writer, reader, path)
            waits = [take_turn(f"run-{number}") for number in range(size.rounds + 1)][1:]
    except MissingPeerError as error:
        return _report_missing(peer.name, error)
    what = f"{DURABLE.name}, ms until another process sees the first token"
    return Report("durable", "", [], [], [Ratio(what, [wait_s * 1000 for wait_s in waits], 100)])


def _read_first_token(server: Loopback, writer: Worker, reader: Worker, path: str, execution_id: str) -> float:
    reader.begin_task("reading", path=path, execution_id=execution_id)
    time.sleep(_READER_AHEAD_S)
    writer.run_task("writing", path=path, execution_id=execution_id)
    return reader.finish_task()["seen_at_s"] - server.fetch_stats()["streamed_at_s"]


def _measure_waiting(server: Loopback) -> Report:
    """Measure what suspended runs hold, and how soon all of them are answered."""
    try:
        with open_worker(DURABLE, server.base_url(), _THREADS) as worker:
            cost = worker.run_task("parked", count=_WAITING_RUNS, idle_s=_IDLE_S)
    except MissingPeerError as error:
        return _report_missing(f"{DURABLE.name}, waiting", error)
    what = f"{DURABLE.name}, {_WAITING_RUNS:,} waiting"
    ratios = [
        Ratio(f"{what}: MB added", [cost["added_kib"] * _MB_OF_KIB], 60),
        Ratio(f"{what}: threads", [cost["threads"]], 100),
        Ratio(f"{what}: idle, % of a core", [cost["idle_share"] * 100], 2),
        Ratio(f"{what}: s until all have their answers, by batch.answer", [cost["answered_s"]], 2),
        Ratio(f"{what}: s until all have their answers, one after the other", [cost["accepted_s"]], None),
        Ratio(f"{what}: s until all have ended too", [cost["ended_s"]], None),
    ]
    return Report("durable", "", [], [], ratios)


def _measure_fleet(server: Loopback, size: Size) -> Report:
    """Measure a job of pollux-batch that three workers carry out beside one that a single worker does."""
    samples = Samples()
    turns = {(DURABLE_FLEET.name, str(count)): partial(_run_fleet, server, size, count) for count in (1, 3)}
    try:
        with run_postgresql() as make_url:
            for _ in range(_FLEET_ROUNDS):
                for key, turn in turns.items():
                    samples.values.setdefault(key, []).append(size.fleet_items / turn(make_url()))
    except MissingPeerError as error:
        return _report_missing(DURABLE_FLEET.name, error)
    what = f"{DURABLE_FLEET.name}, items/s: three workers / one"
    one, three = turns
    return Report("durable", "", [], [], build_ratios(samples, what, three, one, 2, at_least=True))


def _run_fleet(server: Loopback, size: Size, count: int, url: str) -> float:
    """Return the seconds that a job takes on so many workers."""
    from pollux_durable.cli import main

    main(["migrate", "--url", url])
    base_url = server.base_url(_FLEET_WAIT_MS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        end = Path(folder, "end")
        workers = [stack.enter_context(open_worker(DURABLE_FLEET, base_url, _FLEET_THREADS)) for _ in range(count)]
        for worker in workers:
            worker.begin_task("serving", url=url, until=str(end))
        job = stack.enter_context(open_worker(DURABLE_FLEET, base_url, _FLEET_THREADS))
        cost = job.run_task("job", url=url, count=size.fleet_items)
        end.touch()
        for worker in workers:
            worker.finish_task()
    return cost["wall_s"]


def _build_part(samples: Samples, title: str, peers: Sequence[Peer], ratios: list[Ratio]) -> Report:
    """Return a part of the report, without the rows of peers that could not be measured."""
    rows = []
    for peer in peers:
        medians = [samples.median((peer.name, key)) for key in ("time", "cpu")]
        if medians[0] is not None:
            rows.append((f"{title}: {peer.name}", [None if value is None else value * 1000 for value in medians]))
    return Report("durable", "", [], rows, ratios, samples.missing)


def _report_missing(name: str, error: MissingPeerError) -> Report:
    return Report("durable", "", [], [], missing={name: str(error)})
