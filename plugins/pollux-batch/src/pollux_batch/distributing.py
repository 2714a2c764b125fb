"""Calls -> senders -> answers: several processes carry out the calls of one job.

The interpreter runs one thread at a time, and most of what a call costs is the work of its HTTP client. With senders
that work is done elsewhere; reading, limits, retries, the budget and the journal stay in one place, so that everything
that is promised for one process holds for many.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, TypeAlias

import attrs

from pollux_batch.data.messages import IncomingAnswer, LaneOpening, OutgoingCall
from pollux_batch.passing import MessageWriter, pack_message, read_message
from pollux_batch.sending import READY
from pollux_sync.errors import APIError, ConfigurationError, PolluxError
from pollux_sync.plugin import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_batch.data.messages import SenderAnswer
    from pollux_sync import Config
    from pollux_sync.plugin import HttpRequest

    Receive: TypeAlias = Callable[[SenderAnswer], None]
    Inbox: TypeAlias = SimpleQueue[SenderAnswer]

#: How long a sender may take to start.
_START_S = 60.0
#: A sender that has not answered so long after the time limit of a call hangs.
_GRACE_S = 30.0
#: So many senders in a row may end without having answered a call.
_MAX_UNPROVEN = 3
_SENDER_LOST = "sender_lost"
_SENDING_HOOKS = ("pollux_open", "pollux_address", "pollux_send", "pollux_close", "pollux_classify_error")
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pollux_batch.sending import main; main()"


@attrs.frozen(weakref_slot=False)
class _Awaited:
    """A call or an opening without an answer yet, and the time after which its sender counts as hanging."""

    receive: Receive
    overdue_at: float


class SenderProcess:
    """One sender. Many calls are in flight there at once."""

    def __init__(self) -> None:
        self.has_ended = False
        #: True once it has answered a call.
        self.is_proven = False
        self._numbers = count()
        self._awaited: dict[int, _Awaited] = {}
        self._started = self._await(READY.number)
        self._process = _start_process()
        calls, self._answers = _take_pipes(self._process)
        self._calls = MessageWriter(calls)
        self._reader = threading.Thread(target=self._read_answers, name="pollux-batch answers", daemon=True)
        self._reader.start()

    @property
    def n_in_flight(self) -> int:
        """The number of calls in flight."""
        return len(self._awaited)

    def wait_started(self) -> None:
        """Wait until it is there. Raises ConfigurationError if it does not start."""
        self._wait(self._started, "a sender process does not start")

    def open_lane(self, lane: int, config: bytes) -> None:
        """Have calls of a configuration carried out from now on. Raises ConfigurationError if that cannot be."""
        self.wait_opened(self.begin_lane(lane, config))

    def begin_lane(self, lane: int, config: bytes) -> Inbox:
        """Begin to open a lane, also before the process has started; return what `wait_opened` takes."""
        number = next(self._numbers)
        answer = self._await(number)
        self._write(number, LaneOpening(number, lane, config))
        return answer

    def wait_opened(self, answer: Inbox) -> None:
        """Wait until a lane is open. Raises ConfigurationError if it cannot be opened."""
        self._wait(answer, "a sender process cannot use the configuration")

    def _await(self, number: int) -> Inbox:
        inbox: Inbox = SimpleQueue()
        self._awaited[number] = _Awaited(inbox.put, math.inf)
        return inbox

    def _wait(self, inbox: Inbox, failure: str) -> None:
        try:
            answer = inbox.get(timeout=_START_S)
        except Empty:
            answer = PolluxError("it does not answer")
        if not isinstance(answer, HttpResponse):
            reason = answer.message if isinstance(answer, PolluxError) else answer
            raise ConfigurationError(
                f"{failure}: {reason}", hint="read its words on the standard error; or leave processes out"
            )

    def send(self, lane: int, request: HttpRequest, timeout_s: float, receive: Receive) -> None:
        """Begin a physical attempt; ``receive`` gets its answer or its error, in another thread."""
        number = next(self._numbers)
        self._awaited[number] = _Awaited(receive, time.monotonic() + timeout_s + _GRACE_S)
        self._write(number, OutgoingCall(number, lane, request, timeout_s))

    def _write(self, number: int, message: LaneOpening | OutgoingCall) -> None:
        content = pack_message(message)
        with suppress(OSError, ValueError):  # closed at the other end, or at this one
            self._calls.write(content)
        # Whoever read the answers until its end may have looked before this one waited for any.
        if self.has_ended:
            self._answer(number, build_loss("has ended"))

    def _read_answers(self) -> None:
        try:
            while True:
                message = read_message(self._answers)
                if isinstance(message, IncomingAnswer):
                    self._answer(message.number, message.answer)
        except Exception:  # noqa: BLE001 - whatever was read, it is no answer, and there will be no other
            self.has_ended = True
            self._answers.close()
            for number in [*self._awaited]:
                self._answer(number, build_loss("has ended"))

    def _answer(self, number: int, answer: SenderAnswer) -> None:
        awaited = self._awaited.pop(number, None)
        if awaited is not None:
            self.is_proven = self.is_proven or (awaited.overdue_at < math.inf and not is_loss(answer))
            awaited.receive(answer)

    def is_overdue(self, now: float) -> bool:
        """Return whether a call should have been answered long ago: the process is stopped, or hangs."""
        return any(awaited.overdue_at < now for awaited in [*self._awaited.values()])

    def kill(self) -> None:
        """End the process at once. Calls in flight there fail."""
        self.has_ended = True
        self._process.kill()
        self._process.wait()
        self._calls.close()
        self._reader.join()


class SenderPool:
    """The senders of a job, started with its first call. One that has died is replaced."""

    def __init__(self, n_processes: int) -> None:
        self._n_processes = n_processes
        self._lock = threading.Lock()
        self._configs: list[bytes] = []
        self._n_unproven = 0
        self._senders: list[SenderProcess] = []
        self._is_closed = False

    def open_lane(self, config: Config) -> Callable[[HttpRequest, float, Receive], None]:
        """Return a function that begins one physical attempt with this configuration, as `SenderProcess.send` does.

        It raises ConfigurationError if no sender can be started. Raises ConfigurationError for a configuration that
        cannot be handed to another process.
        """
        content = pack_config(config)
        with self._lock:
            lane = len(self._configs)
            for sender in self._senders:
                if not sender.has_ended:
                    sender.open_lane(lane, content)
            self._configs.append(content)
        return partial(self._send, lane)

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
            self._n_unproven = 0 if ended.is_proven else self._n_unproven + 1
            if self._n_unproven >= _MAX_UNPROVEN:
                raise ConfigurationError(
                    f"{self._n_unproven} sender processes have ended before they had answered a call",
                    hint="read their words on the standard error; or leave processes out",
                )
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
            lanes = [*enumerate(self._configs)]
            openings = [(sender, sender.begin_lane(lane, config)) for sender in senders for lane, config in lanes]
            for sender in senders:
                sender.wait_started()
            for sender, opening in openings:
                sender.wait_opened(opening)
        except BaseException:
            for sender in senders:
                sender.kill()
            raise
        return senders

    def end_overdue(self) -> None:
        """End senders that do not answer; their calls are made again elsewhere."""
        now = time.monotonic()
        for sender in self._senders:
            if not sender.has_ended and sender.is_overdue(now):
                sender.kill()

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


def pack_config(config: Config) -> bytes:
    """Return a configuration as a sender reads it. Raises ConfigurationError if no other process can have it."""
    if getattr(sys, "frozen", False):
        # There the interpreter is the application, which would start itself.
        raise ConfigurationError("a frozen application cannot start senders", hint="leave processes out")
    if config.client is not None:
        raise ConfigurationError(
            "processes cannot share Config(client=...)", hint="pass api_key and base_url, or leave processes out"
        )
    plugins = [plugin for plugin in config.plugins or () if _takes_part(plugin)]
    failure: Exception | None = None
    if all(type(plugin).__module__ != "__main__" for plugin in plugins):
        try:
            return pickle.dumps(attrs.evolve(config, plugins=plugins))
        except Exception as error:  # noqa: BLE001 - pickling runs the code of plugins
            failure = error
    raise ConfigurationError(
        "a plugin that takes part in sending cannot be handed to another process",
        hint="define its class in a module that can be imported, or leave processes out",
    ) from failure


def _takes_part(plugin: object) -> bool:
    """Return whether a plugin does anything in a sender. The other hooks are called by the job itself."""
    return isinstance(plugin, str) or any(hasattr(plugin, name) for name in _SENDING_HOOKS)


def build_loss(fate: str) -> APIError:
    """Return the error of a call whose sender has gone."""
    return APIError(
        f"a sender process {fate}",
        kind="connection",
        retryable=True,
        phase="generate",
        provider_code=_SENDER_LOST,
    )


def is_loss(fault: object) -> bool:
    """Return whether a call failed because its sender has gone, which says nothing of the provider."""
    return getattr(fault, "provider_code", None) == _SENDER_LOST
