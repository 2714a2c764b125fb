"""A provider with declarations about raw fields and headers, for the core's own tests."""

from acme_provider import Acme
from pollux_sync.plugin import HttpRequest, ProviderInfo, hookimpl

INFO = ProviderInfo(
    name="declaring",
    auth=("X-Declaring", "{key}"),
    base_url_policy="required",
    options={"temperature", "system_instruction", "response_schema"},
    managed_fields={"model", "stream_options.include_usage"},
    managed_by={
        "text": "a text",
        "text.format": "Options(response_schema=...)",
        "effort": "Options(temperature=...) or Options(system_instruction=...)",
    },
    list_headers={"x-betas"},
)


class Declaring(Acme):
    """Writes the same body and headers for every call, but for its prompt."""

    @hookimpl
    def pollux_provider_info(self):
        return INFO

    @hookimpl
    def pollux_encode(self, call):
        body = {"prompt": call.prompt, "text": {"format": {"type": "x"}}, "effort": {"level": 1}}
        return HttpRequest(path="/ask", body=body, headers={"X-Betas": "files", "x-version": "1"})
