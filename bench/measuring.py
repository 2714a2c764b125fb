"""Workers that do tasks on demand, and the rounds that interleave them.

CPU is user plus system time by getrusage. Start-up is left out: a worker is started and warmed up first. In
every round each contestant has one turn, in alternating order, so that other load on the machine meets
all of them; a ratio is taken within its round, and the median over the rounds is what counts.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from peers import HERE, VENVS, MissingPeerError, Peer, find_python

_TIMEOUT_S = 600
#: (peer, task): the samples, one a round.
Key = tuple[str, str]
Turn = Callable[[], float]


def build_environment() -> dict[str, str]:
    """Return the variables of the environment for contestants: our path, no proxy, one folder for bytecode.

    Otherwise the cost of an import would depend on how a package was installed: with its bytecode or without.
    """
    variables = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**variables, "PYTHONPATH": str(HERE), "PYTHONPYCACHEPREFIX": str(VENVS / "bytecode")}


class Worker:
    """One peer in a process of its own."""

    def __init__(self, peer: Peer, base_url: str, threads: int) -> None:
        command = [find_python(peer), "-m", "contestants", peer.adapter, base_url, str(threads)]
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            command,
            cwd=self._folder.name,
            env=build_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run_task(self, task: str, **arguments: object) -> dict[str, float]:
        """Run a task and return its cost. Raises MissingPeerError when it fails or takes too long."""
        self.begin_task(task, **arguments)
        return self.finish_task()

    def begin_task(self, task: str, **arguments: object) -> None:
        """Begin a task, for one that goes on beside that of another worker."""
        self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        self._process.stdin.flush()

    def finish_task(self) -> dict[str, float]:
        """Return the cost of the task that was begun. Raises MissingPeerError when it fails or takes too long."""
        line = ""
        if select.select([self._process.stdout], [], [], _TIMEOUT_S)[0]:
            line = self._process.stdout.readline()
        answer = json.loads(line or '{"error": "no answer"}')
        if "error" in answer:
            raise MissingPeerError(answer["error"])
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


@contextmanager
def open_worker(peer: Peer, base_url: str, threads: int) -> Iterator[Worker]:
    """Yield a worker, and end it after the block."""
    running = Worker(peer, base_url, threads)
    try:
        yield running
    finally:
        running.close()


def measure_one_shot(peer: Peer, base_url: str, file_task: str = "", path: str = "") -> float:
    """Return the CPU seconds of a complete script: import, client, one call. Raises MissingPeerError when it fails.

    With ``file_task`` the call is about the file ``path``.
    """
    arguments = f"{peer.adapter!r}, {base_url!r}, {file_task!r}, {path!r}"
    code = f"import contestants; contestants.run_once({arguments})" if peer.adapter else "pass"
    return measure_command(find_python(peer), "-c", code)


def measure_command(*command: str) -> float:
    """Return the CPU seconds of a command from its start to its end. Raises MissingPeerError when it fails."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=build_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        if status:
            raise MissingPeerError((stderr.read().splitlines() or ["failed"])[-1][:100])
    return usage.ru_utime + usage.ru_stime


@dataclass
class Samples:
    """The measurements of all rounds, and the reasons why peers are missing."""

    values: dict[Key, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, key: Key) -> float | None:
        return median(self.values[key]) if self.values.get(key) else None

    def ratios(self, above: Key, below: Key) -> list[float]:
        """Return ``above`` divided by ``below`` for each round."""
        pairs = zip(self.values.get(above, ()), self.values.get(below, ()), strict=False)
        return [ours / theirs for ours, theirs in pairs if theirs]

    def add(self, key: Key, turn: Turn) -> None:
        """Run a turn and record its sample. A peer that fails is left out from then on."""
        if key[0] in self.missing:
            return
        try:
            self.values.setdefault(key, []).append(turn())
        except MissingPeerError as error:
            self.missing[key[0]] = str(error)
            self.values = {known: values for known, values in self.values.items() if known[0] != key[0]}


def measure_in_rounds(turns: dict[Key, Turn], rounds: int, *, warm_up: bool = True) -> Samples:
    """Return ``rounds`` samples of each turn. Every second round runs in reverse order."""
    samples = Samples()
    if warm_up:
        for key, turn in turns.items():
            samples.add(key, turn)
        samples.values.clear()
    for number in range(rounds):
        for key, turn in list(turns.items())[:: -1 if number % 2 else 1]:
            samples.add(key, turn)
        _show_progress(number + 1, rounds)
    return samples


def _show_progress(done: int, rounds: int) -> None:
    if sys.stderr.isatty():
        print(f"\rround {done} of {rounds}", end="\r" if done < rounds else "\n", file=sys.stderr, flush=True)


@contextmanager
def open_workers(
    peers: Iterable[Peer], base_url: str, threads: int
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Yield a worker for each peer, and the reasons why some peers have none."""
    running: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        for peer in peers:
            try:
                running[peer.name] = stack.enter_context(open_worker(peer, base_url, threads))
            except MissingPeerError as error:
                missing[peer.name] = str(error)
        yield running, missing
