"""The default implementations of the hooks, called after those of every plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.provider import Address
from pollux_sync.hooks.specs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.limits import RateLimits, TokenEstimate
    from pollux_sync.data.provider import HttpRequest, HttpResponse, ProviderInfo
    from pollux_sync.data.reply import Reply, ToolCall
    from pollux_sync.data.request import Call, Plan
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.data.tool import ToolResult
    from pollux_sync.errors import Fault
    from pollux_sync.wire.http import HttpClient


class CoreDefaults:
    """Requests through the core's HTTP client; plans, calls and replies unchanged."""

    @hookimpl(trylast=True)
    def pollux_open(self, config: ConfigValues, info: ProviderInfo) -> HttpClient:
        # Imported late: a script that uses only the mock never pays for importing the HTTP libraries.
        from pollux_sync.wire.http import open_client

        return open_client(config, info)

    @hookimpl(trylast=True)
    def pollux_address(self, config: ConfigValues, info: ProviderInfo) -> Address:
        # A client that the caller passed brings its own address, which the core does not know.
        return Address(base_url=None if config.client is not None else info.resolve_base_url(config.base_url) or None)

    @hookimpl(trylast=True)
    def pollux_connect(self, client: Any) -> bool | None:
        # Only the core's own client has this method.
        connect = getattr(client, "connect_early", None)
        if connect is None:
            return None
        connect()
        return True

    @hookimpl(trylast=True)
    def pollux_close(self, client: Any) -> bool:
        # A provider may open anything as its client; not all of these need closing.
        close = getattr(client, "close", None)
        if close is not None:
            close()
        return True

    @hookimpl(trylast=True)
    def pollux_plan(self, plan: Plan) -> Plan:
        return plan

    @hookimpl(trylast=True)
    def pollux_rewrite_call(self, call: Call) -> Call:
        return call

    @hookimpl(trylast=True)
    def pollux_call(self, call: Call, proceed: Callable[[Call], Reply]) -> Reply:
        return proceed(call)

    @hookimpl(trylast=True)
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]]
    ) -> Iterator[Delta | Reply]:
        return proceed(call)

    @hookimpl(trylast=True)
    def pollux_call_deferred(self, call: Call, proceed: Callable[[Call], Reply]) -> Reply:
        return proceed(call)

    @hookimpl(trylast=True)
    def pollux_call_tool(self, call: ToolCall, proceed: Callable[[ToolCall], ToolResult]) -> ToolResult:
        return proceed(call)

    @hookimpl(trylast=True)
    def pollux_send(self, request: HttpRequest, client: HttpClient, timeout_s: float) -> HttpResponse:
        return client.send(request, timeout_s)

    @hookimpl(trylast=True)
    def pollux_estimate_tokens(self, call: Call) -> TokenEstimate:
        from pollux_sync.builtin.estimating import estimate_tokens

        return estimate_tokens(call)

    @hookimpl(trylast=True)
    def pollux_rate_limits(self, response: HttpResponse) -> RateLimits | None:
        if not response.headers:
            return None
        from pollux_sync.wire.ratelimits import read_rate_limits

        return read_rate_limits(response)

    @hookimpl(trylast=True)
    def pollux_encode_stream(self, request: HttpRequest) -> HttpRequest:
        # Chat Completions, Responses and Messages all ask for a stream so; a provider that differs has its own hook.
        return attrs.evolve(request, body={**(request.fields or {}), "stream": True})

    @hookimpl(trylast=True)
    def pollux_stream(self, request: HttpRequest, client: HttpClient, timeout_s: float) -> EventStream:
        return client.stream(request, timeout_s)

    @hookimpl(trylast=True)
    def pollux_build_error(self, response: HttpResponse) -> Exception:
        from pollux_sync.wire.faults import HttpError

        return HttpError(response)

    @hookimpl(trylast=True)
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        from pollux_sync.wire.faults import classify_error

        return classify_error(error)
