"""A loopback server that is not the bottleneck: one process, epoll, answers built in advance.

It parses just enough HTTP/1.1 to keep connections alive, and recognises a call by the end of its path. A request
whose body asks for a stream is answered event by event, each in its own chunk and packet. A path that begins with
``/wait/50`` delays each answer by 50 ms. ``GET /stats`` returns the CPU seconds and calls of the server, and when it
began the newest stream, on the monotonic clock that all processes of the machine share.

A large body is counted and dropped while it arrives. Files are not stored: an upload is answered with an id, as by the
Files APIs of OpenAI, Anthropic and Gemini, and each deletion succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TEXT = "The lighthouse was built in 1847 by Ada Winter, who had it painted red and white. " * 4
_RECEIVE_BYTES = 1024 * 1024
#: Bodies above this size are dropped. None of them asks for a stream.
_LARGE_BYTES = 64 * 1024
#: The text of a streamed answer, one token per event.
_TOKENS = [f"{word} " for word in (_TEXT * 8).split()][:500]


def _build_response() -> dict:
    part = {"type": "output_text", "text": _TEXT, "annotations": [], "logprobs": []}
    return {
        "id": "resp_0123456789abcdef0123456789abcdef",
        "object": "response",
        "created_at": 1760000000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "m-2026-01-01",
        "output": [
            {"type": "message", "id": "msg_0123456789", "status": "completed", "role": "assistant", "content": [part]}
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 25,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 80,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 105,
        },
        "metadata": {},
    }


def build_completion() -> dict:
    message = {"role": "assistant", "content": _TEXT, "refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-0123456789abcdef0123456789",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "m-2026-01-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 25,
            "completion_tokens": 80,
            "total_tokens": 105,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


def _build_message() -> dict:
    return {
        "id": "msg_0123456789abcdef",
        "type": "message",
        "role": "assistant",
        "model": "m-2026-01-01",
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 80, "cache_read_input_tokens": 0},
    }


def _build_gemini_answer() -> dict:
    content = {"role": "model", "parts": [{"text": _TEXT}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 25, "candidatesTokenCount": 80, "totalTokenCount": 105},
        "modelVersion": "m-2026-01-01",
        "responseId": "0123456789abcdef",
    }


def _iter_response_events() -> Iterator[dict]:
    answer = _build_response()
    initial = {**answer, "status": "in_progress", "output": [], "usage": None}
    (item,) = answer["output"]
    (part,) = item["content"]
    yield {"type": "response.created", "response": initial}
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for token in _TOKENS:
        yield {"type": "response.output_text.delta", **place, "delta": token, "logprobs": []}
    part = {**part, "text": "".join(_TOKENS)}
    item = {**item, "content": [part]}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": {**answer, "output": [item]}}


def _iter_completion_chunks() -> Iterator[dict]:
    answer = build_completion()
    head = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def chunk(finish: str | None = None, **delta: str) -> dict:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    yield chunk(role="assistant", content="")
    for token in _TOKENS:
        yield chunk(content=token)
    yield chunk("stop")
    yield {**head, "choices": [], "usage": answer["usage"]}


def _iter_message_events() -> Iterator[dict]:
    answer = _build_message()
    yield {"type": "message_start", "message": {**answer, "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for token in _TOKENS:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": len(_TOKENS)}}
    yield {"type": "message_stop"}


def _iter_gemini_events() -> Iterator[dict]:
    answer = _build_gemini_answer()
    head = {name: answer[name] for name in ("modelVersion", "responseId", "usageMetadata")}
    for token in _TOKENS:
        yield {"candidates": [{"content": {"role": "model", "parts": [{"text": token}]}, "index": 0}], **head}
    last = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}
    yield {"candidates": [last], **head}


def _encode_stream(events: Iterable[dict], *, names: bool = False, done: bool = False) -> list[bytes]:
    """Return a streamed answer as a list: its head, then one chunk for each event, then the end of the body."""
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
        "Server: loopback\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n\r\n"
    )
    texts = [(f"event: {e['type']}\n" if names else "") + f"data: {json.dumps(e)}\n\n" for e in events]
    chunks = [text.encode() for text in [*texts, *(["data: [DONE]\n\n"] if done else [])]]
    return [head.encode(), *(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n"]


def _encode_answer(body: object, status: str = "200 OK", *, fields: str = "") -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        "Date: Mon, 05 Jan 2026 12:00:00 GMT\r\nServer: loopback\r\nConnection: keep-alive\r\n"
        "x-request-id: req_0123456789abcdef0123456789abcdef\r\nopenai-processing-ms: 50\r\n"
        "openai-version: 2020-10-01\r\nx-ratelimit-remaining-requests: 9999\r\n"
        f"strict-transport-security: max-age=31536000\r\nx-content-type-options: nosniff\r\n{fields}\r\n"
    )
    return head.encode() + content


_ANSWERS = {
    b"/responses": _encode_answer(_build_response()),
    b"/chat/completions": _encode_answer(build_completion()),
    b"/messages": _encode_answer(_build_message()),
    b":generateContent": _encode_answer(_build_gemini_answer()),
}
_STREAMS = {
    b"/responses": _encode_stream(_iter_response_events(), names=True),
    b"/chat/completions": _encode_stream(_iter_completion_chunks(), done=True),
    b"/messages": _encode_stream(_iter_message_events(), names=True),
    b":streamGenerateContent": _encode_stream(_iter_gemini_events()),
}
_UNKNOWN = _encode_answer({"error": {"message": "the loopback server has no such path"}}, "404 Not Found")
_ASKS_FOR_STREAM = (b'"stream":true', b'"stream": true', b":streamGenerateContent")

_FILE_ID = "file-0123456789abcdef"
_OPENAI_FILE = _encode_answer(
    {
        "id": _FILE_ID,
        "object": "file",
        "bytes": 2_000_000,
        "created_at": 1760000000,
        "filename": "document.pdf",
        "purpose": "user_data",
        "status": "processed",
    }
)
_ANTHROPIC_FILE = _encode_answer(
    {
        "id": _FILE_ID,
        "type": "file",
        "size_bytes": 2_000_000,
        "created_at": "2026-01-05T12:00:00Z",
        "filename": "document.pdf",
        "mime_type": "application/pdf",
        "downloadable": False,
    }
)
_DELETED = _encode_answer({"id": _FILE_ID, "object": "file", "type": "file_deleted", "deleted": True})
_GEMINI_FILE = {
    "file": {
        "name": "files/0123456789ab",
        "mimeType": "application/pdf",
        "sizeBytes": "2000000",
        "uri": "https://generativelanguage.googleapis.com/v1beta/files/0123456789ab",
        "state": "ACTIVE",
    }
}
_GEMINI_CONTINUED = _encode_answer({}, fields="X-Goog-Upload-Status: active\r\n")
_GEMINI_STORED = _encode_answer(_GEMINI_FILE, fields="X-Goog-Upload-Status: final\r\n")


class Received(NamedTuple):
    """A request that has arrived completely: its head, its path without the query, and whether it asks for a stream."""

    head: bytes
    path: bytes
    is_stream: bool


class Inbox:
    """The bytes of one connection that belong to no complete request yet."""

    def __init__(self) -> None:
        self._data = b""
        self._large: Received | None = None
        self._missing_bytes = 0

    def add(self, data: memoryview) -> Iterator[Received]:
        """Add bytes that have arrived; yield the requests that they complete."""
        if self._large is not None:
            dropped = min(self._missing_bytes, len(data))
            self._missing_bytes -= dropped
            if self._missing_bytes:
                return
            data = data[dropped:]
            yield self._large
            self._large = None
        self._data += data
        while request := self._take_request():
            yield request

    def _take_request(self) -> Received | None:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._data[:end]
        path, size = head.split(b" ", 2)[1].partition(b"?")[0], end + 4 + _read_length(head)
        if len(self._data) >= size:
            is_stream = any(word in self._data[:size] for word in _ASKS_FOR_STREAM)
            self._data = self._data[size:]
            return Received(head, path, is_stream)
        if size > _LARGE_BYTES:
            self._large, self._missing_bytes = Received(head, path, is_stream=False), size - len(self._data)
            self._data = b""
        return None


def _read_length(head: bytes) -> int:
    name = head.lower().find(b"\r\ncontent-length:")
    return int(head[name + 17 :].partition(b"\r")[0]) if name >= 0 else 0


def _answer_file_request(request: Received) -> bytes | None:
    """Return the answer of a Files API, or None for another request."""
    if b"/files" not in request.path:
        return None
    if request.head.startswith(b"DELETE"):
        return _DELETED
    fields = request.head.lower()
    if b"/upload/" not in request.path:
        return _ANTHROPIC_FILE if b"\r\nanthropic-version:" in fields else _OPENAI_FILE
    command = fields.partition(b"\r\nx-goog-upload-command:")[2].partition(b"\r")[0]
    if b"finalize" in command:
        return _GEMINI_STORED
    return _begin_gemini_upload(fields) if b"start" in command else _GEMINI_CONTINUED


def _begin_gemini_upload(fields: bytes) -> bytes:
    host = fields.partition(b"\r\nhost:")[2].partition(b"\r")[0].strip().decode()
    address = f"http://{host}/upload/v1beta/files?upload_id=0"
    return _encode_answer({}, fields=f"X-Goog-Upload-URL: {address}\r\nX-Goog-Upload-Status: active\r\n")


class Server:
    """A server that answers requests in the order of arrival, and delayed ones when they are due."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._inboxes: dict[socket.socket, Inbox] = {}
        self._waiting: dict[
            float, deque[tuple[float, socket.socket, bytes]]
        ] = {}  # one queue per delay, so each is in due order
        self._calls = 0
        self._streamed_at_s: float | None = None
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select(self._next_due_s()):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._receive(key.fileobj)
            self._send_due()

    def _next_due_s(self) -> float | None:
        due = [queue[0][0] for queue in self._waiting.values() if queue]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _send_due(self) -> None:
        now = time.monotonic()
        for queue in self._waiting.values():
            while queue and queue[0][0] <= now:
                _, connection, answer = queue.popleft()
                self._send(connection, answer)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inboxes[connection] = Inbox()
        self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: socket.socket) -> None:
        try:
            count = connection.recv_into(self._buffer)
        except OSError:
            count = 0
        if not count:
            self._drop(connection)
            return
        for request in self._inboxes[connection].add(self._buffer[:count]):
            self._calls += 1
            self._stream(connection, request) if request.is_stream else self._answer(connection, request)

    def _answer(self, connection: socket.socket, request: Received) -> None:
        path = request.path
        delay_s = int(path.split(b"/")[2]) / 1000 if path.startswith(b"/wait/") else 0.0
        answer = next((answer for end, answer in _ANSWERS.items() if path.endswith(end)), None)
        answer = answer or _answer_file_request(request) or (self._build_stats() if path == b"/stats" else _UNKNOWN)
        if delay_s:
            self._waiting.setdefault(delay_s, deque()).append((time.monotonic() + delay_s, connection, answer))
        else:
            self._send(connection, answer)

    def _stream(self, connection: socket.socket, request: Received) -> None:
        self._streamed_at_s = time.monotonic()
        for piece in next((pieces for end, pieces in _STREAMS.items() if request.path.endswith(end)), [_UNKNOWN]):
            self._send(connection, piece)

    def _build_stats(self) -> bytes:
        return _encode_answer(
            {"cpu_s": time.process_time(), "calls": self._calls, "streamed_at_s": self._streamed_at_s}
        )

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        try:
            connection.sendall(answer)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if self._inboxes.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()


class Loopback:
    """A running server, as the benchmark sees it: its address and its statistics."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.address = ("127.0.0.1", port)

    def base_url(self, wait_ms: int = 0) -> str:
        """Return the base URL without the version of an API."""
        return f"{self.origin}/wait/{wait_ms}" if wait_ms else self.origin

    def fetch_stats(self) -> dict:
        with urlopen(f"{self.origin}/stats") as answer:
            return json.load(answer)


@contextlib.contextmanager
def run_server() -> Iterator[Loopback]:
    """Yield a server in a new process, and end the process after the block."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        yield Loopback(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        os.set_inheritable(listener.fileno(), False)
        Server(listener).serve()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
