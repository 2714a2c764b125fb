"""A loopback server that is not the bottleneck: one process, epoll, answers built in advance.

It parses just enough HTTP/1.1 to keep connections alive, and recognises a call by the end of its path. A request
whose body asks for a stream is answered event by event, each in its own chunk and packet. A path that begins with
``/wait/50`` delays each answer by 50 ms. ``GET /stats`` returns the CPU seconds and calls of the server.
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
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TEXT = "The lighthouse was built in 1847 by Ada Winter, who had it painted red and white. " * 4
_RECEIVE_BYTES = 256 * 1024
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


def _build_completion() -> dict:
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
    answer = _build_completion()
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


def _encode_answer(body: object, status: str = "200 OK") -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        "Date: Mon, 05 Jan 2026 12:00:00 GMT\r\nServer: loopback\r\nConnection: keep-alive\r\n"
        "x-request-id: req_0123456789abcdef0123456789abcdef\r\nopenai-processing-ms: 50\r\n"
        "openai-version: 2020-10-01\r\nx-ratelimit-remaining-requests: 9999\r\n"
        "strict-transport-security: max-age=31536000\r\nx-content-type-options: nosniff\r\n\r\n"
    )
    return head.encode() + content


_ANSWERS = {
    b"/responses": _encode_answer(_build_response()),
    b"/chat/completions": _encode_answer(_build_completion()),
    b"/messages": _encode_answer(_build_message()),
    b":generateContent": _encode_answer(_build_gemini_answer()),
}
_STREAMS = {
    b"/responses": _encode_stream(_iter_response_events(), names=True),
    b"/chat/completions": _encode_stream(_iter_completion_chunks(), done=True),
    b"/messages": _encode_stream(_iter_message_events(), names=True),
    b":streamGenerateContent?alt=sse": _encode_stream(_iter_gemini_events()),
}
_UNKNOWN = _encode_answer({"error": {"message": "the loopback server has no such path"}}, "404 Not Found")


_ASKS_FOR_STREAM = (b'"stream":true', b'"stream": true', b":streamGenerateContent")


class Server:
    """A server that answers requests in the order of arrival, and delayed ones when they are due."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._received: dict[socket.socket, bytes] = {}
        self._waiting: dict[
            float, deque[tuple[float, socket.socket, bytes]]
        ] = {}  # one queue per delay, so each is in due order
        self._calls = 0

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
        self._received[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        data = self._received[connection] + data
        while request := _find_request(data):
            path, size = request
            is_stream = any(word in data[:size] for word in _ASKS_FOR_STREAM)
            data = data[size:]
            self._stream(connection, path) if is_stream else self._answer(connection, path)
        if connection in self._received:
            self._received[connection] = data

    def _answer(self, connection: socket.socket, path: bytes) -> None:
        self._calls += 1
        delay_s = int(path.split(b"/")[2]) / 1000 if path.startswith(b"/wait/") else 0.0
        answer = next((answer for end, answer in _ANSWERS.items() if path.endswith(end)), None)
        answer = answer or (self._build_stats() if path == b"/stats" else _UNKNOWN)
        if delay_s:
            self._waiting.setdefault(delay_s, deque()).append((time.monotonic() + delay_s, connection, answer))
        else:
            self._send(connection, answer)

    def _stream(self, connection: socket.socket, path: bytes) -> None:
        self._calls += 1
        for piece in next((pieces for end, pieces in _STREAMS.items() if path.endswith(end)), [_UNKNOWN]):
            self._send(connection, piece)

    def _build_stats(self) -> bytes:
        return _encode_answer({"cpu_s": time.process_time(), "calls": self._calls})

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        try:
            connection.sendall(answer)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if self._received.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()


def _find_request(data: bytes) -> tuple[bytes, int] | None:
    """Return the path and the size of the first complete request, or None until it has arrived completely."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end]
    name = head.lower().find(b"\r\ncontent-length:")
    length = int(head[name + 17 :].partition(b"\r")[0]) if name >= 0 else 0
    size = end + 4 + length
    return (head.split(b" ", 2)[1], size) if len(data) >= size else None


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
