"""A provider with uploads over real HTTP, for the core's own tests."""

from datetime import date
from pathlib import PurePath

from pollux_sync.plugin import (
    TEXT_FILE_RULE,
    TEXT_RULE,
    Asset,
    AssetPart,
    HttpRequest,
    InlineLimits,
    InlinePart,
    ProviderInfo,
    Reply,
    SourceRule,
    TextPart,
    UriPart,
    Usage,
    hookimpl,
)

#: Somewhat more than a file may cost inside one request, so that both bounds can be met.
INLINE = InlineLimits(
    max_bytes=15_000_000, max_request_bytes=18_000_000, as_of=date(2026, 11, 25), docs="https://acme.example/limits"
)
INFO = ProviderInfo(
    name="acme",
    key_env=("ACME_API_KEY",),
    base_url="http://127.0.0.1:9",
    base_url_policy="optional",
    options={"temperature", "response_schema", "system_instruction"},
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, mime_types=("image/png",), delivery="upload"),
        SourceRule(source_types={"file"}, mime_types=("image/gif",), delivery="inline"),
        SourceRule(source_types={"file"}, mime_types=("image/jpeg",), delivery="upload", inline=INLINE),
        SourceRule(source_types={"stored"}, delivery="stored"),
        SourceRule(source_types={"uri"}, delivery="uri", uri_schemes=("https",)),
    ),
    managed_fields={"model", "prompt", "parts"},
)


class Acme:
    @hookimpl
    def pollux_provider_info(self):
        return INFO

    @hookimpl
    def pollux_encode(self, call):
        return HttpRequest(
            path="/ask",
            body={"model": call.model, "prompt": call.prompt, "parts": [_part(part) for part in call.parts]},
        )

    @hookimpl
    def pollux_decode(self, response):
        return Reply(text=response.body["answer"], usage=Usage(input_tokens=3, output_tokens=4), finish_reason="stop")

    @hookimpl
    def pollux_upload(self, source, client, timeout_s):
        body = {"name": PurePath(source.identifier).name, "size": source.size_bytes}
        response = client.send(HttpRequest(path="/files", body=body), timeout_s)
        return _build_asset(response.body, source.mime_type)

    @hookimpl
    def pollux_inspect_upload(self, asset, client, timeout_s):
        response = client.send(HttpRequest(method="GET", path=f"/files/{asset.id}"), timeout_s)
        return _build_asset(response.body, asset.mime_type)

    @hookimpl
    def pollux_delete_upload(self, asset, client, timeout_s):
        client.send(HttpRequest(method="DELETE", path=f"/files/{asset.id}"), timeout_s)
        return True


def _build_asset(file, mime_type):
    return Asset(id=file["id"], mime_type=mime_type, is_ready=file.get("ready", True))


def _part(part):
    match part:
        case TextPart():
            return {"text": part.text}
        case AssetPart():
            return {"file": part.asset.id}
        case InlinePart():
            return {"bytes": len(part.data)}
        case UriPart():
            return {"uri": part.uri}
