"""A sender: a process that carries out calls for a job, and knows nothing else of it.

It reads calls from its standard input and writes answers to its standard output, both pickled one after the other. It
ends when its input does, so that it never outlives the job.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, TypeAlias

import attrs

from pollux_sync import stages
from pollux_sync.errors import STOPS, PolluxError, build_api_error
from pollux_sync.plugin import HttpResponse

if TYPE_CHECKING:
    from pollux_sync import Config
    from pollux_sync.plugin import HttpRequest

    #: What a sender gives back for a call: the answer, its error, or what is to end the whole job.
    SenderAnswer: TypeAlias = HttpResponse | PolluxError | SystemExit | KeyboardInterrupt


@attrs.frozen
class LaneOpening:
    """A configuration, pickled by itself, whose calls follow under the number of its lane."""

    number: int
    lane: int
    config: bytes


@attrs.frozen(weakref_slot=False)
class OutgoingCall:
    """One physical attempt to carry out."""

    number: int
    lane: int
    request: HttpRequest
    timeout_s: float


@attrs.frozen(weakref_slot=False)
class IncomingAnswer:
    """The answer to the call or the opening of this number, or the error or the stop in place of one."""

    number: int
    answer: SenderAnswer


#: The first answer, which says that the process has started.
READY = IncomingAnswer(-1, HttpResponse(status=200))


class Sender:
    """Carries out the calls of a pipe. One thread reads them; for each that is in flight another one waits."""

    def __init__(self, calls: IO[bytes], answers: IO[bytes]) -> None:
        self._calls = calls
        self._answers = answers
        self._lock = threading.Lock()
        self._lanes: dict[int, stages.Hooks] = {}
        self._queue: SimpleQueue[OutgoingCall] = SimpleQueue()
        self._n_read = self._n_done = self._n_threads = 0

    def run(self) -> None:
        """Carry out calls until their pipe ends."""
        self._write(READY)
        while True:
            try:
                message = pickle.load(self._calls)  # noqa: S301 - written by the process that started this one
            except (EOFError, OSError):
                return
            if isinstance(message, LaneOpening):
                self._write(IncomingAnswer(message.number, self._open_lane(message)))
                continue
            self._n_read += 1
            if self._n_read - self._n_done > self._n_threads:
                self._n_threads += 1
                threading.Thread(target=self._work, name="pollux-batch sender", daemon=True).start()
            self._queue.put(message)

    def _open_lane(self, opening: LaneOpening) -> SenderAnswer:
        try:
            config: Config = pickle.loads(opening.config)  # noqa: S301 - as above
            self._lanes[opening.lane] = stages.open_hooks(config)
        except BaseException as error:  # noqa: BLE001 - what is imported here may raise anything
            return PolluxError(f"{type(error).__name__}: {error}")
        return READY.answer

    def _work(self) -> None:
        while True:
            call = self._queue.get()
            answer = self._carry_out(call)
            with self._lock:
                self._n_done += 1
            self._write(IncomingAnswer(call.number, answer))

    def _carry_out(self, call: OutgoingCall) -> SenderAnswer:
        hooks = self._lanes[call.lane]
        try:
            return self._send(call, hooks)
        except PolluxError as error:
            return error
        except STOPS as stop:
            # The plugin means to end the script, which is elsewhere.
            return _copy_stop(stop)
        except BaseException as error:  # noqa: BLE001 - somebody waits for an answer, whatever has happened
            return PolluxError(f"a sender failed: {type(error).__name__}: {hooks.scrub(str(error))}")

    def _send(self, call: OutgoingCall, hooks: stages.Hooks) -> HttpResponse:
        try:
            return hooks.send(call.request, call.timeout_s)
        except Exception as error:  # noqa: BLE001 - read_fault raises what is no fault
            fault = stages.read_fault(error, hooks)
            raise build_api_error(fault, provider=hooks.info.name, phase="generate") from None

    def _write(self, answer: IncomingAnswer) -> None:
        try:
            content = _dump(answer)
        except Exception as error:  # noqa: BLE001 - what a plugin returned or raised may hold anything
            defect = PolluxError(f"an answer cannot be passed between processes: {type(error).__name__}: {error}")
            content = _dump(IncomingAnswer(answer.number, defect))
        try:
            with self._lock:
                self._answers.write(content)
                self._answers.flush()
        except OSError:
            # Nobody is left who waits for answers.
            os._exit(1)


def _copy_stop(stop: BaseException) -> SystemExit | KeyboardInterrupt:
    """Return a stop that survives pickling, whatever it was made with."""
    if not isinstance(stop, SystemExit):
        return KeyboardInterrupt()
    code: object = stop.code
    return SystemExit(code if code is None or isinstance(code, str | int) else str(code))


def _dump(answer: IncomingAnswer) -> bytes:
    return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)


def main() -> None:
    """Run as a sender until the standard input ends."""
    calls, answers = os.fdopen(os.dup(0), "rb", buffering=1 << 16), os.fdopen(os.dup(1), "wb")
    # Whatever a plugin prints must not get among the answers.
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a name of the system's
        os.dup2(nothing.fileno(), 0)
    Sender(calls, answers).run()
    # Calls that are in flight end with the process.
    sys.stderr.flush()
    os._exit(0)
