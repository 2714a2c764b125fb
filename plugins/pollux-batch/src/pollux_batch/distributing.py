"""Calls -> senders -> answers: several processes carry out the calls of one job.

The interpreter runs one thread at a time, and most of what a call costs is the work of its HTTP client. With senders
that work is done elsewhere; reading, limits, retries, the budget and the journal stay in one place, so that everything
that is promised for one process holds for many.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, TypeAlias

import attrs

from pollux_batch.sending import READY, IncomingAnswer, LaneOpening, OutgoingCall
from pollux_sync.errors import APIError, ConfigurationError, PolluxError
from pollux_sync.plugin import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync import Config
    from pollux_sync.plugin import HttpRequest

    Receive: TypeAlias = Callable[[HttpResponse | PolluxError], None]

#: How long a sender may take to start.
_START_S = 60.0
_SENDING_HOOKS = ("pollux_open", "pollux_address", "pollux_send", "pollux_close", "pollux_classify_error")
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pollux_batch.sending import main; main()"


class SenderProcess:
    """One sender. Many calls are in flight there at once."""

    def __init__(self) -> None:
        self.has_ended = False
        self._lock = threading.Lock()
        self._numbers = count()
        self._receivers: dict[int, Receive] = {}
        self._started: SimpleQueue[object] = SimpleQueue()
        self._receivers[READY.number] = self._started.put
        self._process = _start_process()
        self._calls, self._answers = _take_pipes(self._process)
        self._reader = threading.Thread(target=self._read_answers, name="pollux-batch answers", daemon=True)
        self._reader.start()

    @property
    def n_in_flight(self) -> int:
        """The number of calls in flight."""
        return len(self._receivers)

    def wait_started(self) -> None:
        """Wait until it is there. Raises ConfigurationError if it does not start."""
        try:
            answer = self._started.get(timeout=_START_S)
        except Empty:
            answer = None
        if not isinstance(answer, HttpResponse):
            raise ConfigurationError(
                f"a sender process does not start (exit status {self._process.poll()})",
                hint="see what it wrote to the standard error; or leave processes out",
            )

    def open_lane(self, opening: LaneOpening) -> None:
        """Have calls of a configuration carried out from now on."""
        with suppress(OSError, ValueError):  # one that has ended is replaced with the next call
            self._write(_dump(opening))

    def send(self, lane: int, request: HttpRequest, timeout_s: float, receive: Receive) -> None:
        """Begin a physical attempt; ``receive`` gets its answer or its error, in another thread."""
        number = next(self._numbers)
        content = _dump(OutgoingCall(number, lane, request, timeout_s))
        self._receivers[number] = receive
        with suppress(OSError, ValueError):  # closed at the other end, or at this one
            self._write(content)
        # Whoever read the answers until its end may have looked before this one waited for any.
        if self.has_ended:
            self._answer(number, build_loss("has ended"))

    def _write(self, content: bytes) -> None:
        with self._lock:
            self._calls.write(content)
            self._calls.flush()

    def _read_answers(self) -> None:
        try:
            while True:
                message: IncomingAnswer = pickle.load(self._answers)  # noqa: S301 - written by our own process
                self._answer(message.number, message.answer)
        except Exception:  # noqa: BLE001 - whatever was read, it is no answer, and there will be no other
            self.has_ended = True
            self._answers.close()
            for number in [*self._receivers]:
                self._answer(number, build_loss("has ended"))

    def _answer(self, number: int, answer: HttpResponse | PolluxError) -> None:
        receive = self._receivers.pop(number, None)
        if receive is not None:
            receive(answer)

    def kill(self) -> None:
        """End the process at once. Calls in flight there fail."""
        self.has_ended = True
        self._process.kill()
        self._process.wait()
        with self._lock, suppress(OSError):  # what was not written yet has nobody to read it
            self._calls.close()
        self._reader.join()


class SenderPool:
    """The senders of a job, started with its first call. One that has died is replaced."""

    def __init__(self, n_processes: int) -> None:
        self._n_processes = n_processes
        self._lock = threading.Lock()
        self._openings: list[LaneOpening] = []
        self._senders: list[SenderProcess] = []
        self._is_closed = False

    def open_lane(self, config: Config) -> Callable[[HttpRequest, float, Receive], None]:
        """Return a function that begins one physical attempt with this configuration, as `SenderProcess.send` does.

        It raises ConfigurationError if no sender can be started. Raises ConfigurationError for a configuration that
        cannot be handed to another process.
        """
        with self._lock:
            opening = LaneOpening(len(self._openings), build_portable(config))
            self._openings.append(opening)
            for sender in self._senders:
                sender.open_lane(opening)
        return partial(self._send, opening.lane)

    def _send(self, lane: int, request: HttpRequest, timeout_s: float, receive: Receive) -> None:
        try:
            sender = self._choose()
        except APIError as error:
            receive(error)
        else:
            sender.send(lane, request, timeout_s, receive)

    def _choose(self) -> SenderProcess:
        # Which of them is the least busy may change meanwhile, which does no harm.
        sender = min(self._senders or self._start(), key=_count_in_flight)
        return self._replace(sender) if sender.has_ended else sender

    def _start(self) -> list[SenderProcess]:
        with self._lock:
            self._check_open()
            if not self._senders:
                self._senders = self._launch(self._n_processes)
            return self._senders

    def _replace(self, ended: SenderProcess) -> SenderProcess:
        with self._lock:
            self._check_open()
            if ended not in self._senders:  # another thread was faster
                return self._senders[0]
            ended.kill()
            try:
                (sender,) = self._launch(1)
            except ConfigurationError as error:
                raise build_loss("cannot be started again") from error
            self._senders[self._senders.index(ended)] = sender
            return sender

    def _launch(self, n_processes: int) -> list[SenderProcess]:
        # Side by side: each takes a moment to start.
        senders = [SenderProcess() for _ in range(n_processes)]
        try:
            for sender in senders:
                sender.wait_started()
                for opening in self._openings:
                    sender.open_lane(opening)
        except BaseException:
            for sender in senders:
                sender.kill()
            raise
        return senders

    def _check_open(self) -> None:
        if self._is_closed:
            raise build_loss("has ended")

    def close(self) -> None:
        """End all senders at once."""
        with self._lock:
            self._is_closed = True
            for sender in self._senders:
                sender.kill()


def _count_in_flight(sender: SenderProcess) -> int:
    return sender.n_in_flight


def _dump(message: LaneOpening | OutgoingCall) -> bytes:
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def _start_process() -> subprocess.Popen[bytes]:
    # Not by multiprocessing, which would run the caller's script again. In a group of its own, since Ctrl-C is meant
    # for the job, which ends what is in flight in order.
    return subprocess.Popen(  # noqa: S603 - this interpreter, and a program of our own
        [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=1 << 16,
        process_group=0 if os.name == "posix" else None,
    )


def _take_pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise PolluxError("the process has no pipes")
    return process.stdin, process.stdout


def build_portable(config: Config) -> Config:
    """Return what another process needs of a configuration. Raises ConfigurationError if it cannot have that."""
    if getattr(sys, "frozen", False):
        # There the interpreter is the application, which would start itself.
        raise ConfigurationError("a frozen application cannot start senders", hint="leave processes out")
    if config.client is not None:
        raise ConfigurationError(
            "processes cannot share Config(client=...)", hint="pass api_key and base_url, or leave processes out"
        )
    plugins = [plugin for plugin in config.plugins or () if _takes_part(plugin)]
    portable = attrs.evolve(config, plugins=plugins)
    try:
        pickle.dumps(portable)
        is_portable = all(type(plugin).__module__ != "__main__" for plugin in plugins)
    except Exception:  # noqa: BLE001 - pickling runs the code of plugins
        is_portable = False
    if not is_portable:
        raise ConfigurationError(
            "a plugin that takes part in sending cannot be handed to another process",
            hint="define its class in a module that can be imported, or leave processes out",
        )
    return portable


def _takes_part(plugin: object) -> bool:
    """Return whether a plugin does anything in a sender. The other hooks are called by the job itself."""
    return isinstance(plugin, str) or any(hasattr(plugin, name) for name in _SENDING_HOOKS)


def build_loss(fate: str) -> APIError:
    """Return the error of a call whose sender has gone."""
    return APIError(f"a sender process {fate}", kind="connection", retryable=True, phase="generate")
