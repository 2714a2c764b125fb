"""Messages between the process of a job and its senders, as bytes in a pipe.

The head of each names its length. Almost all calls and answers are plain data, which `marshal` passes in half the time
of pickling; it needs the same interpreter at both ends, and has it. Everything else is pickled.
"""

from __future__ import annotations

import marshal
import pickle
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from pollux_batch.data.messages import IncomingAnswer, OutgoingCall
from pollux_sync.plugin import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from pollux_batch.data.messages import Message

#: How a message is written, and its length in bytes.
_HEAD = struct.Struct("<cQ")
_CALL, _ANSWER, _PICKLED = b"c", b"a", b"p"


class MessageWriter:
    """Writes messages to a pipe, from any thread. Those that come while one is being written go out together.

    Each write is a system call that gives up the interpreter, and wakes the reader.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._waiting: deque[bytes] = deque()
        self._lock = threading.Lock()

    def write(self, content: bytes) -> None:
        """Write a packed message, or leave it to the thread that is writing. Raises what writing raises."""
        self._waiting.append(content)
        # Looked at again after each write: a thread that came meanwhile has left.
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                self._file.write(b"".join([self._waiting.popleft() for _ in range(len(self._waiting))]))
                self._file.flush()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the pipe once nobody writes to it. What was not written yet has nobody to read it."""
        with self._lock, suppress(OSError):
            self._file.close()


def pack_message(message: Message) -> bytes:
    """Return a message as bytes. Raises what pickling raises: a plugin's objects may raise anything."""
    kind, data = _list_plain(message)
    if data is not None:
        try:
            content = marshal.dumps(data)
            return _HEAD.pack(kind, len(content)) + content
        except ValueError:  # something else than plain data is inside
            pass
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(_PICKLED, len(content)) + content


def _list_plain(message: Message) -> tuple[bytes, tuple[Any, ...] | None]:
    """Return the facts of the usual messages, None for another."""
    if isinstance(message, OutgoingCall) and type(message.request) is HttpRequest and message.request.payload is None:
        sent = message.request
        request = (sent.path, sent.fields, sent.method, sent.headers, sent.is_answer_optional)
        return _CALL, (message.number, message.lane, message.timeout_s, *request)
    # Not an answer that came as events, which is a subclass.
    if isinstance(message, IncomingAnswer) and type(message.answer) is HttpResponse:
        answer = message.answer
        return _ANSWER, (message.number, answer.status, answer.headers, answer.body, answer.content)
    return _PICKLED, None


def read_message(file: IO[bytes]) -> Message:
    """Return the next message of a pipe that a process of our own writes to. Raises EOFError at its end."""
    kind, size = _HEAD.unpack(_read_exactly(file, _HEAD.size))
    content = _read_exactly(file, size)
    if kind == _CALL:
        number, lane, timeout_s, path, fields, method, headers, is_optional = marshal.loads(content)  # noqa: S302
        request = HttpRequest(path=path, body=fields, method=method, headers=headers, is_answer_optional=is_optional)
        return OutgoingCall(number, lane, request, timeout_s)
    if kind == _ANSWER:
        number, status, headers, body, answered = marshal.loads(content)  # noqa: S302
        return IncomingAnswer(number, HttpResponse(status=status, headers=headers, body=body, content=answered))
    message: Message = pickle.loads(content)  # noqa: S301
    return message


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError("the pipe has ended")
    return content
