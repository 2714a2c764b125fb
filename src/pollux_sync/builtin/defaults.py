"""The core's own answers to the hooks, asked after everyone else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.provider import Address
from pollux_sync.hooks.specs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.provider import HttpRequest, HttpResponse, ProviderInfo
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Call, Plan
    from pollux_sync.data.streaming import EventStream
    from pollux_sync.errors import Fault
    from pollux_sync.wire.http import HttpClient


class CoreDefaults:
    """HTTP through the core's client, identity folds, and the retry loop as it is."""

    @hookimpl(trylast=True)
    def pollux_open(self, config: ConfigValues, info: ProviderInfo) -> HttpClient:
        from pollux_sync.wire.http import open_client

        return open_client(config, info)

    @hookimpl(trylast=True)
    def pollux_address(self, config: ConfigValues, info: ProviderInfo) -> Address:
        return Address(base_url=None if config.client is not None else config.base_url or info.base_url)

    @hookimpl(trylast=True)
    def pollux_close(self, client: Any) -> bool:
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
    def pollux_send(self, request: HttpRequest, client: HttpClient, timeout_s: float) -> HttpResponse:
        return client.send(request, timeout_s)

    @hookimpl(trylast=True)
    def pollux_encode_stream(self, request: HttpRequest) -> HttpRequest:
        return attrs.evolve(request, body={**(request.body or {}), "stream": True})

    @hookimpl(trylast=True)
    def pollux_stream(self, request: HttpRequest, client: HttpClient, timeout_s: float) -> EventStream:
        return client.stream(request, timeout_s)

    @hookimpl(trylast=True)
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        from pollux_sync.wire.faults import classify_error

        return classify_error(error)
