"""Scripted answers and faults, so that a user's own script can be tested whole, offline."""

from __future__ import annotations

import copy
import json
import threading
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs

from pollux_sync.data.provider import HttpRequest, HttpResponse
from pollux_sync.data.reply import Reply
from pollux_sync.hooks.specs import hookimpl
from pollux_sync.wire.faults import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer: TypeAlias = "str | dict[str, Any] | list[Any] | Reply | Exception | Callable[[dict[str, Any]], Answer]"


def failing(status: int, message: str = "scripted", *, retry_after_s: float | None = None) -> HttpError:
    """An answer that fails with an HTTP status, as a provider would."""
    headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
    return HttpError(HttpResponse(status=status, headers=headers, body={"error": {"message": message}}))


class Script:
    """Middleware that answers physical attempts by a script: ``Config(use_mock=True, plugins=[script])``.

    An answer is a text, a Reply, a dict or list (sent as JSON text), an exception to raise (see `failing`;
    ``ConnectionResetError()`` and ``TimeoutError()`` are faults of the network), or a function of the
    request's body that gives one of these. Answers given to `on` go to requests that hold the words, the
    others to any request; each is used once, in order of arrival. What has none left is answered by
    ``otherwise`` if given, else by the provider. ``requests`` lists the bodies seen.
    """

    def __init__(self, *answers: Answer, otherwise: Answer | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._queues: list[tuple[str, list[Answer]]] = [("", list(answers))]

    def on(self, words: str, *answers: Answer) -> Self:
        """Answer requests whose body holds ``words`` anywhere; asked before the general answers."""
        self._queues.insert(-1, (words, list(answers)))
        return self

    @property
    def is_used_up(self) -> bool:
        """Whether every scripted answer was given."""
        with self._lock:
            return not any(queue for _, queue in self._queues)

    @hookimpl(tryfirst=True)
    def pollux_send(self, request: HttpRequest) -> HttpResponse | None:
        body = request.body or {}
        answer = self._next(body)
        while callable(answer) and not isinstance(answer, Exception):
            answer = answer(body)
        if isinstance(answer, Exception):
            raise copy.copy(answer)  # raised again and again, one object's traceback would grow
        return None if answer is None else HttpResponse(status=200, body=_Scripted(_reply(answer)))

    @hookimpl(tryfirst=True)
    def pollux_decode(self, response: HttpResponse) -> Reply | None:
        return response.body.reply if isinstance(response.body, _Scripted) else None

    def _next(self, body: dict[str, Any]) -> Answer | None:
        text = "\n".join(_texts_in(body))
        with self._lock:
            self.requests.append(body)
            for words, queue in self._queues:
                if queue and words in text:
                    return queue.pop(0)
        return self._otherwise


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _texts_in(item))
    elif isinstance(value, list | tuple):
        yield from (text for item in value for text in _texts_in(item))


@attrs.frozen
class _Scripted:
    reply: Reply


def _reply(answer: str | dict[str, Any] | list[Any] | Reply) -> Reply:
    if isinstance(answer, Reply):
        return answer
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reply(text=text, finish_reason="stop")
