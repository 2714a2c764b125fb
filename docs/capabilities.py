"""Writes reference/provider-capabilities.md: what the providers of this repository declare, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pollux_sync import Options, ProviderInfo, Source
from pollux_sync.data.source import BytesLoader
from pollux_sync.hooks.loading import PROVIDERS, entry_points, load
from pollux_sync.hooks.relay import read_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCS = Path(__file__).parent
PAGE = DOCS / "reference" / "provider-capabilities.md"

#: Options that the core serves whatever the provider; `continue_from` is declared as "history".
SERVED_BY_CORE = {"continue_from", "delivery_mode", "on_error", "provider_options", "schema_repairs"}
OPTIONS = tuple(field.name for field in attrs.fields(Options) if field.name not in SERVED_BY_CORE)

#: What every source below holds.
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


#: Every kind of source, by the types that stand for it.
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
}

YES, NO = "yes", "—"
#: Calls that are a provider's to answer, with the hook by which it does.
CALLS = {
    "`stream`, `stream_many`": "pollux_decode_stream",
    "`defer`, `defer_many`": "pollux_submit_deferred",
    "`create_cache`": "pollux_create_cache",
    "`list_models`": "pollux_list_models",
    "`explain(count_tokens=True)`": "pollux_count_tokens",
}

_DELIVERIES = {"text": "in the text", "inline": "in the request", "upload": "uploaded", "uri": "by address"}
_BASE_URLS = {"fixed": NO, "optional": "may be given", "required": "must be given"}
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
# What each provider takes

<!-- written by docs/capabilities.py -->

{NO} means refused before anything is sent, with a hint. Tests hold every cell.

## Options

{{options}}
## Calls

`run`, `run_many`, `continue_tool`, `run_tools`, `interact` and `Session` go with every provider.

{{calls}}
## Sources

* In the text: the content is part of the prompt.
* In the request: its bytes are inside.
* Uploaded: stored at the provider for the call, deleted when it ends.
* By address: the provider fetches it.

Where not all types of a kind are taken, those that are stand there.

{{sources}}
## Schemas

The form in which a `response_schema` is sent; answers come back as declared. What exceeds a limit is refused.

{{schemas}}
## Reaching it

{{reach}}"""


def declarations() -> tuple[ProviderInfo, ...]:
    """What the installed providers of this repository declare, by name."""
    ours = {"pollux-sync", *(folder.name for folder in (DOCS.parent / "plugins").iterdir())}
    found = [entry for entry in entry_points(PROVIDERS) if entry.distribution in ours]
    return tuple(read_provider_info(load(PROVIDERS, f"{entry.distribution}:{entry.name}")) for entry in found)


def page(infos: Sequence[ProviderInfo]) -> str:
    """The whole page."""
    tables = {
        "options": _table("option", infos, _option_cells),
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


def _call_cells(info: ProviderInfo) -> dict[str, str]:
    """Which of the calls the provider answers that not every plugin needs to."""
    plugin = load(PROVIDERS, info.name).plugin
    return {call: YES if hasattr(plugin, hook) else NO for call, hook in CALLS.items()}


def _source_cells(info: ProviderInfo) -> dict[str, str]:
    return {kind: _deliveries(info, sources) for kind, sources in SOURCES.items()}


def _deliveries(info: ProviderInfo, sources: Mapping[str, Source]) -> str:
    """How the sources are delivered, with the names of those that are if not all are alike."""
    taken: dict[str, list[str]] = {}
    for name, source in sources.items():
        rule = info.find_rule(source)
        if rule is not None:
            taken.setdefault(_DELIVERIES[rule.delivery], []).append(name)
    return (
        "; ".join(way if len(names) == len(sources) else f"{way}: {', '.join(names)}" for way, names in taken.items())
        or NO
    )


def _schema_cells(info: ProviderInfo) -> dict[str, str]:
    dialect = info.schema_dialect
    shapes = {
        "no object at the root": "in an object" if dialect.needs_object_root else _AS_DECLARED,
        "fields that may be absent": "required, or null" if dialect.all_required else _AS_DECLARED,
        "maps": _AS_DECLARED if dialect.allows_open_maps else "list of pairs",
        "tuples": _AS_DECLARED if dialect.allows_tuples else "object",
        "any value": _AS_DECLARED if dialect.allows_any else "JSON text",
        "what contains itself": _AS_DECLARED if dialect.allows_recursion else "JSON text",
    }
    limits = {
        _LIMITS[name]: "none known" if limit is None else f"up to {limit:,}"
        for name, limit in attrs.asdict(dialect.limits).items()
    }
    return shapes | limits | {"as of": f"[{dialect.as_of}]({dialect.docs})" if dialect.as_of else ""}


def _reach_cells(info: ProviderInfo) -> dict[str, str]:
    keys = " or ".join(f"`{name}`" for name in info.key_env) or "as `api_key`"
    return {
        "key": keys if info.needs_key else "not needed",
        "`base_url`": _BASE_URLS[info.base_url_policy],
        "variable of `base_url`": f"`{info.base_url_env}`" if info.base_url_env else "none",
        "a client of your own": YES if info.accepts_client else NO,
        "uploads": YES if any(rule.delivery == "upload" for rule in info.sources) else "none",
        "the service's documentation": f"[here]({info.docs_url})" if info.docs_url else "",
    }


if __name__ == "__main__":
    PAGE.write_text(page(declarations()), encoding="utf-8")
