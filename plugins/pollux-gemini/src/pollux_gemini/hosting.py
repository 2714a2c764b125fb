"""Tools that Gemini runs: their forms in a request, and what they left in an answer. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_gemini.parts import as_object, read_objects
from pollux_sync.plugin import (
    AnswerFile,
    Citation,
    HostedCall,
    HostedForm,
    as_text,
    encode_hosted_tool,
    fill_form,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_gemini.parts import Json
    from pollux_sync.plugin import HostedTool

_MCP = "remote_mcp"
#: By the published contract of generateContent (2026-08).
_FORMS = {
    "web_search": HostedForm({"googleSearch": {}}),
    "web_fetch": HostedForm({"urlContext": {}}),
    "code_execution": HostedForm({"codeExecution": {}}),
    "file_search": HostedForm(
        {"fileSearch": {}},
        {"stores": ("fileSearch", "fileSearchStoreNames"), "max_results": ("fileSearch", "topK")},
    ),
}
_SERVER = HostedForm({}, {"name": ("name",), "url": ("streamableHttpTransport", "url")})
#: What is honoured, in the way of `HostedForm`.
DECLARED_FORMS = {**_FORMS, _MCP: HostedForm({}, {**_SERVER.paths, "token": ()})}
#: The kinds of the service's own tools, by its names for them, which begin like this.
_KINDS = {
    "GOOGLE_SEARCH": "web_search",
    "URL_CONTEXT": "web_fetch",
    "CODE_EXECUTION": "code_execution",
    "FILE_SEARCH": "file_search",
    "MCP": _MCP,
}
_CODE_SUCCESS = "OUTCOME_OK"
_FETCH_SUCCESS = "URL_RETRIEVAL_STATUS_SUCCESS"
#: What is a part of the answer itself, as thoughts are.
_THOUGHT = "thought"


def encode_tool(tool: HostedTool) -> Json:
    """Return a tool in the form of the API."""
    if tool.kind != _MCP:
        return encode_hosted_tool(tool, _FORMS)
    fields = dict(tool.iter_set())
    server = fill_form(_SERVER, fields)
    if "token" in fields:
        server["streamableHttpTransport"]["headers"] = {"Authorization": f"Bearer {fields['token']}"}
    return {"mcpServers": [server]}


def read_hosted_calls(candidate: Json, parts: list[Json]) -> tuple[HostedCall, ...] | None:
    """Return what the service's own tools did; None without any."""
    return tuple(_iter_calls(candidate, parts)) or None


def _iter_calls(candidate: Json, parts: list[Json]) -> Iterator[HostedCall]:
    yield from _iter_code_runs(parts)
    named = [*_iter_named_calls(parts)]
    yield from named
    known = {call.kind for call in named}
    # Models before Gemini 3 show searches and pages in the metadata alone.
    queries = as_object(candidate.get("groundingMetadata")).get("webSearchQueries")
    if queries and "web_search" not in known:
        yield HostedCall(kind="web_search", name="googleSearch", input={"queries": queries})
    for page in read_objects(as_object(candidate.get("urlContextMetadata")).get("urlMetadata")):
        if "web_fetch" not in known:
            status = as_text(page.get("urlRetrievalStatus"))
            address = {"url": page.get("retrievedUrl")}
            yield HostedCall(kind="web_fetch", name="urlContext", input=address, is_error=status != _FETCH_SUCCESS)


def _iter_code_runs(parts: list[Json]) -> Iterator[HostedCall]:
    results = [as_object(part["codeExecutionResult"]) for part in parts if part.get("codeExecutionResult")]
    codes = [as_object(part["executableCode"]) for part in parts if part.get("executableCode")]
    for number, code in enumerate(codes):
        # A run that was cut off has no result.
        result = results[number] if number < len(results) else {}
        is_error = bool(result) and result.get("outcome") != _CODE_SUCCESS
        output = result.get("output")
        yield HostedCall(
            kind="code_execution", name="codeExecution", input=code.get("code"), output=output, is_error=is_error
        )


def _iter_named_calls(parts: list[Json]) -> Iterator[HostedCall]:
    results = {as_text(result.get("id")): result for part in parts if (result := as_object(part.get("toolResponse")))}
    for part in parts:
        call = as_object(part.get("toolCall"))
        name = as_text(call.get("toolType"))
        if name is not None:
            kind = next((ours for start, ours in _KINDS.items() if name.startswith(start)), None)
            result = results.get(as_text(call.get("id")), {})
            yield HostedCall(
                kind=kind, name=name, id=as_text(call.get("id")), input=call.get("args"), output=result.get("response")
            )


def count_searches(candidate: Json) -> int | None:
    """Return the number of queries, by which Gemini 3 bills searches; None without any.

    https://ai.google.dev/gemini-api/docs/google-search#pricing (2026-11)
    """
    queries = as_object(candidate.get("groundingMetadata")).get("webSearchQueries")
    return len(queries) if isinstance(queries, list) and queries else None


def read_files(parts: list[Json]) -> tuple[AnswerFile, ...] | None:
    """Return the images and other files that are parts of an answer; None without any."""
    inline = [as_object(part.get("inlineData")) for part in parts if not part.get(_THOUGHT)]
    return tuple(_read_file(data) for data in inline if as_text(data.get("data"))) or None


def _read_file(data: Json) -> AnswerFile:
    return AnswerFile(mime_type=as_text(data.get("mimeType")), name=as_text(data.get("displayName")), data=data["data"])


def read_citations(candidate: Json, parts: list[Json]) -> tuple[Citation, ...] | None:
    """Return the sources that support passages of the text, and those that it repeats; None without any."""
    texts = _Texts(parts)
    return (
        *_iter_grounds(as_object(candidate.get("groundingMetadata")), texts),
        *_iter_repeats(candidate, texts),
    ) or None


class _Texts:
    """The texts of an answer, in which the service counts bytes of UTF-8."""

    def __init__(self, parts: list[Json]) -> None:
        self._texts = [as_text(part.get("text")) or "" if not part.get(_THOUGHT) else "" for part in parts]
        self._answer = "".join(self._texts)

    def find_passage(self, segment: Json) -> tuple[int | None, int | None]:
        """Return the ends of a passage in the answer's text, None where they are unknown."""
        number = read_count(segment, "partIndex")
        # Zeros are left out.
        start = self._find_place(number, read_count(segment, "startIndex") or 0)
        end = self._find_place(number, read_count(segment, "endIndex"))
        text = as_text(segment.get("text"))
        if not text or (start is not None and self._answer[start:end] == text):
            return start, end
        # The service miscounts at times.
        found = self._answer.find(text)
        return (None, None) if found < 0 else (found, found + len(text))

    def _find_place(self, number: int | None, n_bytes: int | None) -> int | None:
        """Return the place in the answer of a byte of one part, or of all parts together if the number is None."""
        if n_bytes is None or (number is not None and number >= len(self._texts)):
            return None
        before, text = ("", self._answer) if number is None else ("".join(self._texts[:number]), self._texts[number])
        return len(before) + len(text.encode("utf-8", "replace")[:n_bytes].decode("utf-8", "ignore"))


def _iter_grounds(metadata: Json, texts: _Texts) -> Iterator[Citation]:
    chunks = metadata.get("groundingChunks")
    chunks = chunks if isinstance(chunks, list) else []
    for support in read_objects(metadata.get("groundingSupports")):
        start, end = texts.find_passage(as_object(support.get("segment")))
        indexes = support.get("groundingChunkIndices")
        for index in indexes if isinstance(indexes, list) else ():
            if isinstance(index, int) and 0 <= index < len(chunks):
                yield _read_chunk(as_object(chunks[index]), start, end)


def _read_chunk(chunk: Json, start: int | None, end: int | None) -> Citation:
    place: Json = next(
        (as_object(chunk[name]) for name in ("web", "retrievedContext", "maps", "image") if chunk.get(name)), {}
    )
    return Citation(
        url=as_text(place.get("uri")),
        title=as_text(place.get("title")),
        source=as_text(place.get("fileSearchStore")),
        text=as_text(place.get("text")),
        start=start,
        end=end,
    )


def _iter_repeats(candidate: Json, texts: _Texts) -> Iterator[Citation]:
    for source in read_objects(as_object(candidate.get("citationMetadata")).get("citationSources")):
        start, end = texts.find_passage(source)
        yield Citation(url=as_text(source.get("uri")), start=start, end=end)
