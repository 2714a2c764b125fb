"""Tools that OpenAI runs: their forms in a request, and what they left in an answer. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_openai.items import list_contents, read_type
from pollux_sync.plugin import AnswerFile, Citation, HostedCall, HostedForm, as_text, list_objects, read_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pollux_openai.items import Item
    from pollux_sync.plugin import HostedTool

#: By the published contract of the Responses API (2026-08).
FORMS = {
    "web_search": HostedForm(
        {"type": "web_search"},
        {
            "allowed_domains": ("filters", "allowed_domains"),
            "user_location": ("user_location",),
            "context_size": ("search_context_size",),
        },
    ),
    "code_execution": HostedForm({"type": "code_interpreter", "container": {"type": "auto"}}),
    "file_search": HostedForm(
        {"type": "file_search"}, {"stores": ("vector_store_ids",), "max_results": ("max_num_results",)}
    ),
    # Without this field the service asks before each call, and nobody would answer.
    "remote_mcp": HostedForm(
        {"type": "mcp", "require_approval": "never"},
        {
            "name": ("server_label",),
            "url": ("server_url",),
            "token": ("authorization",),
            "allowed_tools": ("allowed_tools",),
        },
    ),
    "image_generation": HostedForm({"type": "image_generation"}, {"model": ("model",)}),
}
#: What the service leaves out of an answer unless it is asked for, by the tool that makes it.
_INCLUSIONS = {
    "web_search": "web_search_call.action.sources",
    "code_execution": "code_interpreter_call.outputs",
    "file_search": "file_search_call.results",
}
#: The types of output items, with the kind of the tool, and the fields that hold what went in and what came out.
_CALLS: Mapping[str, tuple[str | None, str, str]] = {
    "web_search_call": ("web_search", "action", "results"),
    "code_interpreter_call": ("code_execution", "code", "outputs"),
    "file_search_call": ("file_search", "queries", "results"),
    "mcp_call": ("remote_mcp", "arguments", "output"),
    "image_generation_call": ("image_generation", "revised_prompt", ""),
}
_FAILED = frozenset({"failed", "incomplete"})


def list_inclusions(tools: Sequence[HostedTool]) -> list[str] | None:
    """Return what a request has to ask for, so that the answer shows what the tools did."""
    return [*dict.fromkeys(_INCLUSIONS[tool.kind] for tool in tools if tool.kind in _INCLUSIONS)] or None


def read_hosted_calls(items: Sequence[Item]) -> tuple[HostedCall, ...] | None:
    """Return what the service's own tools did; None without any."""
    return tuple(_read_call(item) for item in items if read_type(item) in _CALLS) or None


def _read_call(item: Item) -> HostedCall:
    kind, given, returned = _CALLS[item["type"]]
    error = item.get("error")
    return HostedCall(
        kind=kind,
        name=as_text(item.get("name")) or item["type"].removesuffix("_call"),
        id=as_text(item.get("id")),
        input=item.get(given),
        output=error or item.get(returned),
        is_error=bool(error) or as_text(item.get("status")) in _FAILED,
    )


def count_searches(items: Sequence[Item]) -> int | None:
    """Return the number of web searches, each of which is billed; None without any.

    Opening a page and looking for a text in it are actions too, and cost nothing:
    https://platform.openai.com/docs/guides/tools-web-search
    """
    actions = [item.get("action") for item in items if item.get("type") == "web_search_call"]
    return sum(not isinstance(one, dict) or one.get("type", "search") == "search" for one in actions) or None


def read_files(items: Sequence[Item]) -> tuple[AnswerFile, ...] | None:
    """Return the images that were made, and the files that code has written, which have ids alone; None without any."""
    images = [
        AnswerFile(mime_type=f"image/{item.get('output_format') or 'png'}", data=item["result"], id=item.get("id"))
        for item in items
        if item.get("type") == "image_generation_call" and as_text(item.get("result"))
    ]
    written = [
        AnswerFile(name=as_text(note.get("filename")), id=note["file_id"])
        for part in list_contents(items)
        for note in list_objects(part.get("annotations"))
        if note.get("type") == "container_file_citation" and as_text(note.get("file_id"))
    ]
    return (*images, *written) or None


def read_citations(contents: Sequence[Item]) -> tuple[Citation, ...] | None:
    """Return the sources that the text names; None without any."""
    return tuple(_iter_citations(contents)) or None


def _iter_citations(contents: Sequence[Item]) -> Iterator[Citation]:
    # Places are counted within their part, and the answer's text has all parts.
    offset = 0
    for part in contents:
        for note in list_objects(part.get("annotations")):
            yield _read_citation(note, offset)
        text = part.get("text") if part.get("type") == "output_text" else None
        offset += len(text) if isinstance(text, str) else 0


def _read_citation(note: Mapping[str, Any], offset: int) -> Citation:
    start, end = read_count(note, "start_index"), read_count(note, "end_index")
    return Citation(
        url=as_text(note.get("url")),
        title=as_text(note.get("title")) or as_text(note.get("filename")),
        source=as_text(note.get("file_id")),
        start=None if start is None else start + offset,
        end=None if end is None else end + offset,
    )
