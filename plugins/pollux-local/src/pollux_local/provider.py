"""The hooks of a provider that speaks Chat Completions, by its declaration and its dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.plugin import decode_chat, encode_chat, find_spelling_problem, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import (
        Call,
        ChatDialect,
        Delta,
        EventStream,
        HttpRequest,
        HttpResponse,
        Problem,
        ProviderInfo,
        Reply,
    )


class ChatProvider:
    """Calls a service with Chat Completions. ``asks_usage`` is for streams whose usage the service sends on request."""

    def __init__(self, info: ProviderInfo, dialect: ChatDialect, *, asks_usage: bool = True) -> None:
        self._info = info
        self._dialect = dialect
        self._asks_usage = asks_usage

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return self._info

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        return find_spelling_problem(call, self._info.name, self._dialect)

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        return encode_chat(call, self._dialect)

    @hookimpl
    def pollux_decode(self, response: HttpResponse, call: Call) -> Reply:
        return decode_chat(response, self._dialect, call.options.functions)

    @hookimpl
    def pollux_encode_stream(self, request: HttpRequest) -> HttpRequest:
        from pollux_sync.plugin import encode_chat_stream

        return encode_chat_stream(request, asks_usage=self._asks_usage)

    @hookimpl
    def pollux_decode_stream(self, stream: EventStream, call: Call) -> Iterator[Delta | Reply]:
        from pollux_sync.plugin import decode_chat_stream

        return decode_chat_stream(stream, lambda response: decode_chat(response, self._dialect, call.options.functions))
