"""Workers that do tasks on demand, and the rounds that interleave them.

CPU is user plus system time by getrusage. Start-up is left out: a worker is started and warmed up first. In
every round each contestant has its turn, in alternating direction, so that what else the machine does meets
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

from peers import HERE, VENVS, MissingPeerError, Peer, python_of

_PATIENCE_S = 600
#: (peer, task): the samples, one a round.
Key = tuple[str, str]
Turn = Callable[[], float]


def environment() -> dict[str, str]:
    """What contestants run with: ours on the path, no proxy before the loopback, bytecode kept in one place.

    Whether a package was installed with its bytecode would otherwise decide what its import costs.
    """
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPATH": str(HERE), "PYTHONPYCACHEPREFIX": str(VENVS / "bytecode")}


class Worker:
    """One peer in a process of its own."""

    def __init__(self, peer: Peer, base_url: str, threads: int) -> None:
        command = [python_of(peer), "-m", "contestants", peer.adapter, base_url, str(threads)]
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            command,
            cwd=self._folder.name,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, task: str, **arguments: object) -> dict[str, float]:
        """What the task cost. Raises MissingPeerError when it failed or took too long."""
        self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        self._process.stdin.flush()
        line = ""
        if select.select([self._process.stdout], [], [], _PATIENCE_S)[0]:
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
def worker(peer: Peer, base_url: str, threads: int) -> Iterator[Worker]:
    """A worker, ended with the block."""
    started = Worker(peer, base_url, threads)
    try:
        yield started
    finally:
        started.close()


def one_shot_cpu_s(peer: Peer, base_url: str) -> float:
    """CPU seconds of a whole script: import, client, one call. Raises MissingPeerError when it fails."""
    code = f"import contestants; contestants.once({peer.adapter!r}, {base_url!r})" if peer.adapter else "pass"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as complaint:
        process = subprocess.Popen([python_of(peer), "-c", code], cwd=folder, env=environment(), stderr=complaint)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        complaint.seek(0)
        if status:
            raise MissingPeerError((complaint.read().splitlines() or ["failed"])[-1][:100])
    return usage.ru_utime + usage.ru_stime


@dataclass
class Samples:
    """What was measured in each round, and why a peer is missing."""

    values: dict[Key, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, key: Key) -> float | None:
        return median(self.values[key]) if self.values.get(key) else None

    def ratios(self, above: Key, below: Key) -> list[float]:
        """``above`` by ``below``, round by round."""
        pairs = zip(self.values.get(above, ()), self.values.get(below, ()), strict=False)
        return [ours / theirs for ours, theirs in pairs if theirs]

    def keep(self, key: Key, turn: Turn) -> None:
        """One more sample; a peer that fails is out from then on."""
        if key[0] in self.missing:
            return
        try:
            self.values.setdefault(key, []).append(turn())
        except MissingPeerError as error:
            self.missing[key[0]] = str(error)
            self.values = {known: values for known, values in self.values.items() if known[0] != key[0]}


def interleaved(turns: dict[Key, Turn], rounds: int, *, warm_up: bool = True) -> Samples:
    """``rounds`` samples of each turn; every other round goes backwards."""
    samples = Samples()
    if warm_up:
        for key, turn in turns.items():
            samples.keep(key, turn)
        samples.values.clear()
    for number in range(rounds):
        for key, turn in list(turns.items())[:: -1 if number % 2 else 1]:
            samples.keep(key, turn)
        _show_progress(number + 1, rounds)
    return samples


def _show_progress(done: int, rounds: int) -> None:
    if sys.stderr.isatty():
        print(f"\rround {done} of {rounds}", end="\r" if done < rounds else "\n", file=sys.stderr, flush=True)


@contextmanager
def workers(peers: Iterable[Peer], base_url: str, threads: int) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """A worker a peer, and the reasons why some have none."""
    started: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        for peer in peers:
            try:
                started[peer.name] = stack.enter_context(worker(peer, base_url, threads))
            except MissingPeerError as error:
                missing[peer.name] = str(error)
        yield started, missing
