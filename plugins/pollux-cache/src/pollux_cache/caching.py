"""Call -> the reply that was kept for it, or the provider's, which is kept."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import attrs

from pollux_cache.store import AnswerStore
from pollux_sync.plugin import (
    HttpResponse,
    Reply,
    Usage,
    check_choice,
    check_int,
    check_seconds,
    find_mismatch,
    hookimpl,
    read_number,
    read_variable,
    request_key,
    split_into_deltas,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from pollux_cache.store import StoredAnswer
    from pollux_sync.plugin import Call, Delta, Hooks

#: The calls that are kept, by their temperature.
When = Literal["zero", "unset", "always"]

#: Answers with other finish reasons are missing, refused or broken off.
_FINISHED = frozenset({"stop", "length", "tool_calls"})
#: What a kept answer is billed now.
_NOTHING = Usage(input_tokens=0, output_tokens=0, total_tokens=0)
_DEFAULT_PATH = "~/.cache/pollux-sync/answers.sqlite"
_DEFAULT_BYTES = 10**9


class Cache:
    """Keeps answers in a SQLite file, under the key of their request, as they came; they are decoded anew.

    * ``path``: the file. Default: POLLUX_CACHE_PATH, else ``~/.cache/pollux-sync/answers.sqlite``.
    * ``ttl_s``: how long an answer counts, in seconds. Default: POLLUX_CACHE_TTL_S, else for ever.
    * ``max_bytes``: how large the answers may be together; the oldest go first. Default: POLLUX_CACHE_MAX_BYTES, else
      1 GB.
    * ``when``: "zero" keeps answers to calls with ``temperature=0``, "unset" also those without a temperature, "always"
      all. Default: POLLUX_CACHE_WHEN, else "unset".
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ttl_s: float | None = None,
        max_bytes: int | None = None,
        when: When | None = None,
    ) -> None:
        ttl_s = read_number("POLLUX_CACHE_TTL_S") if ttl_s is None else ttl_s
        if ttl_s is not None:
            check_seconds("ttl_s", ttl_s, above=True)
        if max_bytes is None:
            max_bytes = int(read_number("POLLUX_CACHE_MAX_BYTES") or _DEFAULT_BYTES)
        check_int("max_bytes", max_bytes, minimum=1)
        self._when = when or read_variable("POLLUX_CACHE_WHEN") or "unset"
        check_choice("when", self._when, get_args(When))
        path = Path(path or read_variable("POLLUX_CACHE_PATH") or _DEFAULT_PATH)
        self._store = AnswerStore(path, ttl_s=ttl_s, max_bytes=max_bytes)

    def clear(self) -> None:
        """Delete all answers."""
        self._store.clear()

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._store.close()

    @hookimpl
    def pollux_call(self, call: Call, proceed: Callable[[Call], Reply], hooks: Hooks) -> Reply:
        if not self._is_kept(call):
            return proceed(call)
        key = request_key(call, hooks)
        found = self._find(key, call, hooks)
        return found or self._keep(key, proceed(call), call, hooks)

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Hooks
    ) -> Iterator[Delta | Reply]:
        if not self._is_kept(call):
            yield from proceed(call)
            return
        key = request_key(call, hooks)
        found = self._find(key, call, hooks)
        if found is not None:
            yield from split_into_deltas(found)
            yield found
            return
        for item in proceed(call):
            yield self._keep(key, item, call, hooks) if isinstance(item, Reply) else item

    def _is_kept(self, call: Call) -> bool:
        """Return whether the same call may be answered by a kept answer."""
        options = call.options
        # A tool of the provider, such as a search, answers otherwise tomorrow. Only such tools have secrets.
        if options.hosted_tools or options.secrets:
            return False
        if self._when == "always" or options.temperature == 0:
            return True
        return self._when == "unset" and options.temperature is None

    def _find(self, key: str, call: Call, hooks: Hooks) -> Reply | None:
        stored = self._store.find(key)
        if stored is None:
            return None
        try:
            response = HttpResponse(status=200, body=json.loads(stored.content), content=stored.content)
            reply = hooks.decode(response, call)
        except Exception:  # noqa: BLE001 - an answer that another version of the provider wrote is asked for again
            return None
        # Another class may be asked for by the same schema, and refuse what fits this.
        if find_mismatch(reply, call, hooks) is not None:
            return None
        return _mark_hit(attrs.evolve(reply, response=response), stored)

    def _keep(self, key: str, reply: Reply, call: Call, hooks: Hooks) -> Reply:
        response = reply.response
        if (
            response is not None
            and response.body is not None
            and reply.has_content
            and reply.finish_reason in _FINISHED
            # The hit would stand in place of the repairs, for ever.
            and find_mismatch(reply, call, hooks) is None
        ):
            # Escaped: an answer may hold half a character, which UTF-8 cannot.
            content = response.content or json.dumps(response.body).encode()
            self._store.keep(key, content)
        return reply.add_note("cache", {"hit": False})


def _mark_hit(reply: Reply, stored: StoredAnswer) -> Reply:
    note = {"hit": True, "stored_at": stored.stored_at, "saved": reply.usage.to_dict()}
    return attrs.evolve(reply, usage=_NOTHING, cost_usd=Decimal(0)).add_note("cache", note)
