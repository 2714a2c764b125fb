"""Tools that Anthropic runs: their forms in a request, and what they left in an answer. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import (
    AnswerFile,
    Citation,
    HostedCall,
    HostedForm,
    Problem,
    as_text,
    encode_hosted_tool,
    fill_form,
    list_objects,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.plugin import HostedTool

Block = dict[str, Any]

_MCP = "remote_mcp"
#: Lets a request name MCP servers.
MCP_BETA = "mcp-client-2025-11-20"
#: By the published contract of the Messages API (2026-05), in the versions that every model with the tool takes.
_FORMS = {
    "web_search": HostedForm(
        {"type": "web_search_20250305", "name": "web_search"},
        {name: (name,) for name in ("allowed_domains", "blocked_domains", "max_uses", "user_location")},
    ),
    "web_fetch": HostedForm(
        {"type": "web_fetch_20250910", "name": "web_fetch"},
        {name: (name,) for name in ("allowed_domains", "blocked_domains", "max_uses", "max_content_tokens")},
    ),
    "code_execution": HostedForm({"type": "code_execution_20250825", "name": "code_execution"}),
}
#: A server is in a field of its own; the tool names it.
_SERVER = HostedForm({"type": "url"}, {"name": ("name",), "url": ("url",), "token": ("authorization_token",)})
#: What is honoured, in the way of `HostedForm`.
DECLARED_FORMS = {**_FORMS, _MCP: HostedForm({}, {**_SERVER.paths, "allowed_tools": ()})}
#: The kinds of the service's own tools, by its names for them.
_KINDS = {
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    **dict.fromkeys(("code_execution", "bash_code_execution", "text_editor_code_execution"), "code_execution"),
}
_USES = {"server_tool_use", "mcp_tool_use"}


def encode_tool(tool: HostedTool, *, has_schema: bool) -> dict[str, Any]:
    """Return a tool in the form of the API, which refuses citations where the answer has a schema."""
    if tool.kind == _MCP:
        return _encode_toolset(dict(tool.iter_set()))
    encoded = encode_hosted_tool(tool, _FORMS)
    return encoded | {"citations": {"enabled": True}} if tool.kind == "web_fetch" and not has_schema else encoded


def _encode_toolset(fields: dict[str, Any]) -> dict[str, Any]:
    encoded: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": fields["name"]}
    if "allowed_tools" in fields:
        enabled = {name: {"enabled": True} for name in fields["allowed_tools"]}
        encoded |= {"default_config": {"enabled": False}, "configs": enabled}
    return encoded


def list_mcp_servers(tools: Sequence[HostedTool]) -> list[dict[str, Any]] | None:
    """Return the MCP servers of the tools; None without any."""
    return [fill_form(_SERVER, dict(tool.iter_set())) for tool in tools if tool.kind == _MCP] or None


def find_domains_problem(tools: Sequence[HostedTool]) -> Problem | None:
    """Return the problem of a tool with two lists of domains, of which the API takes one."""
    for tool in tools:
        if {"allowed_domains", "blocked_domains"} <= dict(tool.iter_set()).keys():
            name = type(tool).__name__
            return Problem(
                f"{name} has allowed_domains and blocked_domains", "Anthropic takes one of them: leave one out"
            )
    return None


def read_hosted_calls(blocks: Sequence[Block]) -> tuple[HostedCall, ...] | None:
    """Return what the service's own tools did; None without any."""
    results = {block["tool_use_id"]: block for block in blocks if as_text(block.get("tool_use_id"))}
    uses = [block for block in blocks if as_text(block.get("type")) in _USES and as_text(block.get("name"))]
    return tuple(_read_call(block, results.get(as_text(block.get("id")), {})) for block in uses) or None


def _read_call(use: Block, result: Block) -> HostedCall:
    output = result.get("content")
    return HostedCall(
        kind=_MCP if use["type"] == "mcp_tool_use" else _KINDS.get(use["name"]),
        name=use["name"],
        id=as_text(use.get("id")),
        input=use.get("input"),
        output=output,
        is_error=bool(result.get("is_error")) or (isinstance(output, dict) and _has_failed(output)),
    )


def _has_failed(output: Block) -> bool:
    # Code that ended with an error has a result like any other.
    return str(output.get("type")).endswith("_error") or output.get("return_code") not in (None, 0)


def read_files(blocks: Sequence[Block]) -> tuple[AnswerFile, ...] | None:
    """Return the files that code has written, which have ids alone; None without any."""
    outputs = [
        block.get("content") for block in blocks if str(block.get("type")).endswith("code_execution_tool_result")
    ]
    written = [file for output in outputs if isinstance(output, dict) for file in list_objects(output.get("content"))]
    return tuple(AnswerFile(id=file["file_id"]) for file in written if as_text(file.get("file_id"))) or None


def read_citations(places: Sequence[tuple[Block, int, int]]) -> tuple[Citation, ...] | None:
    """Return the sources of text blocks, each of which comes with its place in the text; None without any."""
    return tuple(_iter_citations(places)) or None


def _iter_citations(places: Sequence[tuple[Block, int, int]]) -> Iterator[Citation]:
    for block, start, end in places:
        for note in list_objects(block.get("citations")):
            document = note.get("document_index")
            source = as_text(note.get("file_id")) or as_text(note.get("source"))
            yield Citation(
                url=as_text(note.get("url")),
                title=as_text(note.get("title")) or as_text(note.get("document_title")),
                source=source or (None if document is None else str(document)),
                text=as_text(note.get("cited_text")),
                start=start,
                end=end,
            )
