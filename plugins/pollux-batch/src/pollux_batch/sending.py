"""A sender: a process that carries out calls for a job, and knows nothing else of it.

It reads calls from its standard input and writes answers to its standard output. It ends when its input does, so that
it never outlives the job.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING

from pollux_batch.data.messages import IncomingAnswer, LaneOpening, OutgoingCall
from pollux_batch.passing import MessageWriter, pack_message, read_message
from pollux_sync import stages
from pollux_sync.errors import STOPS, PolluxError, build_api_error
from pollux_sync.plugin import HttpResponse

if TYPE_CHECKING:
    from pollux_batch.data.messages import SenderAnswer
    from pollux_sync import Config

#: The longest turn of a thread while others wait for theirs. Python's own is ten times as long.
_SWITCH_S = 0.0005
#: The first answer, which says that the process has started.
READY = IncomingAnswer(-1, HttpResponse(status=200))


class Sender:
    """Carries out the calls of a pipe. One thread reads them; for each that is in flight another one waits."""

    def __init__(self, calls: IO[bytes], answers: IO[bytes]) -> None:
        self._calls = calls
        self._answers = MessageWriter(answers)
        self._lock = threading.Lock()
        self._lanes: dict[int, stages.Hooks] = {}
        self._queue: SimpleQueue[OutgoingCall] = SimpleQueue()
        self._n_read = self._n_done = self._n_threads = 0

    def run(self) -> None:
        """Carry out calls until their pipe ends."""
        self._write(READY)
        while True:
            try:
                message = read_message(self._calls)
            except (EOFError, OSError):
                return
            if isinstance(message, LaneOpening):
                self._write(IncomingAnswer(message.number, self._open_lane(message)))
            elif isinstance(message, OutgoingCall):
                self._begin(message)

    def _begin(self, call: OutgoingCall) -> None:
        self._n_read += 1
        if self._n_read - self._n_done > self._n_threads:
            self._n_threads += 1
            threading.Thread(target=self._work, name="pollux-batch sender", daemon=True).start()
        self._queue.put(call)

    def _open_lane(self, opening: LaneOpening) -> SenderAnswer:
        try:
            config: Config = pickle.loads(opening.config)  # noqa: S301 - written by the process that started this one
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
            content = pack_message(answer)
        except Exception as error:  # noqa: BLE001 - what a plugin returned or raised may hold anything
            defect = PolluxError(f"an answer cannot be passed between processes: {type(error).__name__}: {error}")
            content = pack_message(IncomingAnswer(answer.number, defect))
        try:
            self._answers.write(content)
        except OSError:
            # Nobody is left who waits for answers.
            os._exit(1)


def _copy_stop(stop: BaseException) -> SystemExit | KeyboardInterrupt:
    """Return a stop that survives pickling, whatever it was made with."""
    if not isinstance(stop, SystemExit):
        return KeyboardInterrupt()
    code: object = stop.code
    return SystemExit(code if code is None or isinstance(code, str | int) else str(code))


def main() -> None:
    """Run as a sender until the standard input ends."""
    calls, answers = os.fdopen(os.dup(0), "rb", buffering=1 << 16), os.fdopen(os.dup(1), "wb")
    # Whatever a plugin prints must not get among the answers.
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a name of the system's
        os.dup2(nothing.fileno(), 0)
    # Threads that wait for their turn get it sooner: here all of them do little, and the next answer waits already.
    sys.setswitchinterval(_SWITCH_S)
    Sender(calls, answers).run()
    # Calls that are in flight end with the process.
    sys.stderr.flush()
    os._exit(0)
