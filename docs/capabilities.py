"""The writer of reference/provider-capabilities.md: the declarations of this repository's providers, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pollux_sync import Options, ProviderInfo, Source
from pollux_sync.data.hosted import HOSTED_KINDS
from pollux_sync.data.source import BytesLoader
from pollux_sync.hooks.loading import PROVIDERS, list_entry_points, load
from pollux_sync.hooks.relay import read_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pollux_sync.data.hosted import HostedTool

DOCS = Path(__file__).parent
PAGE = DOCS / "reference" / "provider-capabilities.md"

#: Options that the core honours with every provider, and `continue_from`, which providers declare as "history".
SERVED_BY_CORE = {
    *("continue_from", "delivery_mode", "label_sources", "on_error", "provider_headers", "provider_options"),
    "schema_repairs",
}
OPTIONS = tuple(field.name for field in attrs.fields(Options) if field.name not in SERVED_BY_CORE)

#: The content of every source below.
CONTENT = "what the source says"

_TEXTS = {
    "plain": "text/plain",
    "Markdown": "text/markdown",
    "CSV": "text/csv",
    "HTML": "text/html",
    "JSON": "application/json",
    "JSON Lines": "application/jsonl",
    "XML": "application/xml",
    "YAML": "application/yaml",
    "TOML": "application/toml",
    "TeX": "application/x-tex",
}
_IMAGES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WebP": "image/webp",
    "HEIC": "image/heic",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
}
_PDF = {"PDF": "application/pdf"}
_AUDIO = {
    "WAV": "audio/wav",
    "MP3": "audio/mpeg",
    "M4A": "audio/mp4",
    "FLAC": "audio/flac",
    "Ogg": "audio/ogg",
}
_VIDEO = {
    "MP4": "video/mp4",
    "QuickTime": "video/quicktime",
    "WebM": "video/webm",
    "AVI": "video/x-msvideo",
}
_DOCUMENTS = {
    "Word": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "Excel": "application/vnd.ms-excel",
    "RTF": "application/rtf",
    "ZIP": "application/zip",
    "unknown": "application/octet-stream",
}


def _files(types: Mapping[str, str]) -> dict[str, Source]:
    content = CONTENT.encode()
    return {name: Source("file", "sample", mime, len(content), BytesLoader(content)) for name, mime in types.items()}


def _addresses(types: Mapping[str, str], scheme: str = "https") -> dict[str, Source]:
    return {name: Source.from_uri(f"{scheme}://host.example/sample", mime_type=mime) for name, mime in types.items()}


#: Every kind of source, each with sample sources by the name of their type.
SOURCES = {
    "text": {"text": Source.from_text(CONTENT)},
    "JSON": {"JSON": Source.from_json([CONTENT])},
    "text files": _files(_TEXTS),
    "image files": _files(_IMAGES),
    "PDF files": _files(_PDF),
    "audio files": _files(_AUDIO),
    "video files": _files(_VIDEO),
    "other files": _files(_DOCUMENTS),
    "http(s) addresses of images": _addresses(_IMAGES),
    "http(s) addresses of PDFs": _addresses(_PDF, "http"),
    "other http(s) addresses": _addresses(_TEXTS | _AUDIO | _VIDEO | _DOCUMENTS),
    "`gs://` addresses": _addresses(_IMAGES | _PDF | _VIDEO, "gs"),
    "YouTube": {"YouTube": Source.from_youtube("https://www.youtube.com/watch?v=abc")},
    "arXiv": {"arXiv": Source.from_arxiv("1706.03762")},
    # With the beginning that Gemini's names have; other services take any id.
    "stored files": {"PDF": Source.from_file_id("files/abc", mime_type="application/pdf")},
}

YES, NO = "yes", "—"
#: Calls that not every provider supports, with the hook that a provider implements for each.
CALLS = {
    "`stream`, `stream_many`": "pollux_decode_stream",
    "`defer`, `defer_many`": "pollux_submit_deferred",
    "`create_cache`": "pollux_create_cache",
    "`list_models`": "pollux_list_models",
    "`explain(count_tokens=True)`": "pollux_count_tokens",
}

_DELIVERIES = {
    "text": "in the text",
    "inline": "in the request",
    "upload": "uploaded",
    "uri": "by address",
    "stored": "by id",
}
#: The delivery of a file that is uploaded, or sent in the request where that costs less.
_EITHER = "in the request or uploaded"
_BASE_URLS = {"fixed": NO, "optional": "optional", "required": "required"}
_LIMITS = {
    "max_depth": "levels of objects",
    "max_properties": "properties",
    "max_optional": "optional properties",
    "max_unions": "unions",
    "max_enum_values": "enum values",
    "max_name_chars": "characters in names and enum values",
}
_AS_DECLARED = "as declared"

_PAGE = f"""\
# What each provider supports

<!-- written by docs/capabilities.py -->

{NO} means that the call is refused with a hint before anything is sent. Tests check every cell.

## Options

{{options}}
## Tools that the provider runs

[Let the provider run tools](../how-to/hosted-tools.md) explains them. A cell lists the fields that are honoured.

{{hosted}}
## Calls

`run`, `run_many`, `continue_tool`, `run_tools`, `interact` and `Session` work with every provider.

{{calls}}
## Sources

* In the text: the content is part of the prompt.
* In the request: the bytes are inside the request.
* Uploaded: the file is stored at the provider for the call, and deleted when the call ends.
* In the request or uploaded: whichever costs less, unless `Config(uploads=...)` decides it.
* By address: the provider fetches the content.
* By id: the file is stored at the provider already. It is used, and not deleted.

If a provider supports only some types of a kind, the cell lists them.

{{sources}}
## Schemas

The table shows the form in which a `response_schema` is sent; answers are returned in the declared type. A schema that
exceeds a limit is refused.

{{schemas}}
## Access

{{reach}}"""


def declarations() -> tuple[ProviderInfo, ...]:
    """Return the declarations of the installed providers of this repository, ordered by name."""
    ours = {"pollux-sync", *(folder.name for folder in (DOCS.parent / "plugins").iterdir())}
    entries = [entry for entry in list_entry_points(PROVIDERS) if entry.distribution in ours]
    # The hosts that pollux-local knows by name have a page of their own.
    found = [entry for entry in entries if not entry.value.startswith("pollux_local.hosts:")]
    return tuple(read_provider_info(load(PROVIDERS, f"{entry.distribution}:{entry.name}")) for entry in found)


def page(infos: Sequence[ProviderInfo]) -> str:
    """Return the text of the page."""
    tables = {
        "options": _table("option", infos, _option_cells),
        "hosted": _table("tool", infos, _hosted_cells),
        "calls": _table("call", infos, _call_cells),
        "sources": _table("source", infos, _source_cells),
        "schemas": _table("in the type", infos, _schema_cells),
        "reach": _table("", infos, _reach_cells),
    }
    return _PAGE.format(**tables)


def _table(corner: str, infos: Sequence[ProviderInfo], cells_of: Callable[[ProviderInfo], Mapping[str, str]]) -> str:
    columns = [cells_of(info) for info in infos]
    rows = [[label, *(cells[label] for cells in columns)] for label in columns[0]]
    heads = [corner, *map(_name, infos)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, ["---"] * len(heads), *rows))


def _name(info: ProviderInfo) -> str:
    guide = f"providers/{info.name}.md"
    return f"[{info.name}](../{guide})" if (DOCS / guide).exists() else info.name


def _option_cells(info: ProviderInfo) -> dict[str, str]:
    labels = {name: f"`{name}`" for name in OPTIONS} | {"history": "`history`, `continue_from`"}
    return {label: info.conditions.get(name, YES) if name in info.options else NO for name, label in labels.items()}


def _hosted_cells(info: ProviderInfo) -> dict[str, str]:
    """Return for each tool the fields that are honoured, those that it needs left out."""
    return {f"`{tool.__name__}`": _list_fields(info, tool) for tool in HOSTED_KINDS.values()}


def _list_fields(info: ProviderInfo, tool: type[HostedTool]) -> str:
    honoured = info.hosted_tools.get(tool.kind)
    optional = [field.name for field in attrs.fields(tool) if field.default is None]
    return NO if honoured is None else ", ".join(f"`{name}`" for name in optional if name in honoured) or YES


def _call_cells(info: ProviderInfo) -> dict[str, str]:
    """Return the cells of the calls that not every provider supports."""
    plugin = load(PROVIDERS, info.name).plugin
    return {call: YES if hasattr(plugin, hook) else NO for call, hook in CALLS.items()}


def _source_cells(info: ProviderInfo) -> dict[str, str]:
    return {kind: _deliveries(info, sources) for kind, sources in SOURCES.items()}


def _deliveries(info: ProviderInfo, sources: Mapping[str, Source]) -> str:
    """Return the delivery of the sources, with the names of their types if the delivery differs between them."""
    taken: dict[str, list[str]] = {}
    for name, source in sources.items():
        rule = info.find_rule(source)
        if rule is not None:
            taken.setdefault(_EITHER if rule.inline else _DELIVERIES[rule.delivery], []).append(name)
    return (
        "; ".join(way if len(names) == len(sources) else f"{way}: {', '.join(names)}" for way, names in taken.items())
        or NO
    )


def _schema_cells(info: ProviderInfo) -> dict[str, str]:
    dialect = info.schema_dialect
    shapes = {
        "root that is not an object": "in an object" if dialect.needs_object_root else _AS_DECLARED,
        "optional fields": "required, or null" if dialect.all_required else _AS_DECLARED,
        "maps": _AS_DECLARED if dialect.allows_open_maps else "list of pairs",
        "tuples": _AS_DECLARED if dialect.allows_tuples else "object",
        "any value": _AS_DECLARED if dialect.allows_any else "JSON text",
        "recursive types": _AS_DECLARED if dialect.allows_recursion else "JSON text",
    }
    limits = {
        _LIMITS[name]: "none known" if limit is None else f"up to {limit:,}"
        for name, limit in attrs.asdict(dialect.limits).items()
    }
    return shapes | limits | {"as of": f"[{dialect.as_of}]({dialect.docs})" if dialect.as_of else ""}


def _reach_cells(info: ProviderInfo) -> dict[str, str]:
    keys = " or ".join(f"`{name}`" for name in info.credential_env) or "as `api_key`"
    return {
        "key": keys if info.needs_key else f"optional, {keys}" if info.credential_env else "not needed",
        "`base_url`": _BASE_URLS[info.base_url_policy],
        "variable of `base_url`": f"`{info.base_url_env}`" if info.base_url_env else "none",
        "your own client": YES if info.accepts_client else NO,
        "uploads": YES if any(rule.delivery == "upload" for rule in info.sources) else "none",
        "the service's documentation": f"[here]({info.docs_url})" if info.docs_url else "",
    }


if __name__ == "__main__":
    PAGE.write_text(page(declarations()), encoding="utf-8")
