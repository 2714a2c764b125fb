"""Answers in which services ran tools of their own: bodies, the same as streams, and what is to be read in them."""

from pollux_sync import AnswerFile, Citation, CodeExecution, FileSearch, HostedCall, RemoteMCP, WebFetch, WebSearch

TOKEN = "mcp-token-0123456789"
PIXEL = "iVBORw0KGgo="
MCP = RemoteMCP(name="docs", url="https://mcp.example.org/docs", token=TOKEN)

# OpenAI

_SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {
        "type": "search",
        "query": "tide tables",
        "sources": [{"type": "url", "url": "https://example.org/tides"}],
    },
}
_OPENED = {
    "type": "web_search_call",
    "id": "ws_2",
    "status": "completed",
    "action": {"type": "open_page", "url": "https://example.org/tides"},
}
_CODE = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "status": "completed",
    "container_id": "cntr_1",
    "code": "print(6 * 7)",
    "outputs": [{"type": "logs", "logs": "42\n"}],
}
_FILES = {
    "type": "file_search_call",
    "id": "fs_1",
    "status": "completed",
    "queries": ["harbour"],
    "results": [{"file_id": "file_1", "filename": "harbour.txt", "text": "The harbour opens at six.", "score": 0.9}],
}
_MCP = {
    "type": "mcp_call",
    "id": "mcp_1",
    "server_label": "docs",
    "name": "find",
    "arguments": '{"word": "tide"}',
    "output": None,
    "error": {"type": "mcp_tool_execution_error", "content": []},
}
_IMAGE = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "result": PIXEL,
    "output_format": "webp",
}
_OPENAI_TEXT = "High water is at nine."
_OPENAI_ITEMS = [
    _SEARCH,
    _OPENED,
    _CODE,
    _FILES,
    _MCP,
    _IMAGE,
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": "Ahoy! ", "annotations": []},
            {
                "type": "output_text",
                "text": _OPENAI_TEXT,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url": "https://example.org/tides",
                        "title": "Tides",
                        "start_index": 0,
                        "end_index": 22,
                    },
                    {"type": "file_citation", "file_id": "file_1", "filename": "harbour.txt", "index": 22},
                    {
                        "type": "container_file_citation",
                        "container_id": "cntr_1",
                        "file_id": "cfile_1",
                        "filename": "tides.csv",
                        "start_index": 5,
                        "end_index": 10,
                    },
                ],
            },
        ],
    },
]
OPENAI = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": _OPENAI_ITEMS,
    "usage": {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30},
}
_OPENAI_EVENTS = [
    {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}},
    *(
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate(_OPENAI_ITEMS[:-1])
    ),
    {"type": "response.web_search_call.completed", "item_id": "ws_1", "output_index": 0},
    {"type": "response.output_text.delta", "output_index": 6, "content_index": 0, "delta": "Ahoy! "},
    {"type": "response.output_text.delta", "output_index": 6, "content_index": 1, "delta": _OPENAI_TEXT},
    {"type": "response.output_item.done", "output_index": 6, "item": _OPENAI_ITEMS[-1]},
    {"type": "response.completed", "response": OPENAI},
]
_OPENAI_READ = {
    "citations": (
        Citation(url="https://example.org/tides", title="Tides", start=6, end=28),
        Citation(title="harbour.txt", source="file_1"),
        Citation(title="tides.csv", source="cfile_1", start=11, end=16),
    ),
    "hosted_calls": (
        HostedCall(kind="web_search", name="web_search", id="ws_1", input=_SEARCH["action"]),
        HostedCall(kind="web_search", name="web_search", id="ws_2", input=_OPENED["action"]),
        HostedCall(
            kind="code_execution", name="code_interpreter", id="ci_1", input=_CODE["code"], output=_CODE["outputs"]
        ),
        HostedCall(kind="file_search", name="file_search", id="fs_1", input=["harbour"], output=_FILES["results"]),
        HostedCall(
            kind="remote_mcp", name="find", id="mcp_1", input=_MCP["arguments"], output=_MCP["error"], is_error=True
        ),
        HostedCall(kind="image_generation", name="image_generation", id="ig_1"),
    ),
    "files": (
        AnswerFile(mime_type="image/webp", data=PIXEL, id="ig_1"),
        AnswerFile(name="tides.csv", id="cfile_1"),
    ),
    "searches": 1,
}

# Anthropic

_CITED = {
    "type": "web_search_result_location",
    "url": "https://example.org/tides",
    "title": "Tides",
    "encrypted_index": "e1",
    "cited_text": "High water: 09:00",
}
_QUOTED = {
    "type": "char_location",
    "cited_text": "opens at six",
    "document_index": 0,
    "document_title": "harbour.txt",
    "start_char_index": 12,
    "end_char_index": 24,
}
_RESULTS = [
    {"type": "web_search_result", "url": "https://example.org/tides", "title": "Tides", "encrypted_content": "c"}
]
_RUN = {
    "type": "bash_code_execution_result",
    "stdout": "42\n",
    "stderr": "",
    "return_code": 0,
    "content": [{"type": "bash_code_execution_output", "file_id": "file_2"}],
}
_FETCH_ERROR = {"type": "web_fetch_tool_result_error", "error_code": "url_not_accessible"}
_ANTHROPIC_BLOCKS = [
    {"type": "text", "text": "I look."},
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "tide tables"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": _RESULTS},
    {"type": "server_tool_use", "id": "srv_2", "name": "web_fetch", "input": {"url": "https://example.org/x"}},
    {"type": "web_fetch_tool_result", "tool_use_id": "srv_2", "content": _FETCH_ERROR},
    {"type": "server_tool_use", "id": "srv_3", "name": "bash_code_execution", "input": {"command": "python x.py"}},
    {"type": "bash_code_execution_tool_result", "tool_use_id": "srv_3", "content": _RUN},
    {"type": "mcp_tool_use", "id": "mcp_1", "name": "find", "server_name": "docs", "input": {"word": "tide"}},
    {
        "type": "mcp_tool_result",
        "tool_use_id": "mcp_1",
        "is_error": False,
        "content": [{"type": "text", "text": "ebb"}],
    },
    {"type": "text", "text": "High water is at "},
    {"type": "text", "text": "nine", "citations": [_CITED]},
    {"type": "text", "text": "; the harbour opens at six.", "citations": [_QUOTED]},
]
_ANTHROPIC_USAGE = {
    "input_tokens": 20,
    "output_tokens": 10,
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 1},
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": _ANTHROPIC_BLOCKS,
    "stop_reason": "end_turn",
    "usage": _ANTHROPIC_USAGE,
}


def _stream_block(index, block):
    """Yield the events of a block: its text, input and citations come as deltas."""
    empty = {"text": {"text": ""}, "server_tool_use": {"input": {}}, "mcp_tool_use": {"input": {}}}
    fields = {name: value for name, value in block.items() if name != "citations"}
    yield {"type": "content_block_start", "index": index, "content_block": fields | empty.get(block["type"], {})}
    deltas = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations", ())]
    if block["type"] == "text":
        deltas.append({"type": "text_delta", "text": block["text"]})
    elif "input" in block:
        (name, value), *_ = block["input"].items()
        deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in ("{", f'"{name}": "{value}"', "}")]
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


_ANTHROPIC_EVENTS = [
    {
        "type": "message_start",
        "message": {**ANTHROPIC, "content": [], "stop_reason": None, "usage": {"input_tokens": 20, "output_tokens": 1}},
    },
    *(event for index, block in enumerate(_ANTHROPIC_BLOCKS) for event in _stream_block(index, block)),
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": _ANTHROPIC_USAGE},
    {"type": "message_stop"},
]
_ANTHROPIC_READ = {
    "citations": (
        Citation(url=_CITED["url"], title="Tides", text="High water: 09:00", start=26, end=30),
        Citation(title="harbour.txt", source="0", text="opens at six", start=30, end=57),
    ),
    "hosted_calls": (
        HostedCall(kind="web_search", name="web_search", id="srv_1", input={"query": "tide tables"}, output=_RESULTS),
        HostedCall(
            kind="web_fetch",
            name="web_fetch",
            id="srv_2",
            input={"url": "https://example.org/x"},
            output=_FETCH_ERROR,
            is_error=True,
        ),
        HostedCall(
            kind="code_execution",
            name="bash_code_execution",
            id="srv_3",
            input={"command": "python x.py"},
            output=_RUN,
        ),
        HostedCall(
            kind="remote_mcp",
            name="find",
            id="mcp_1",
            input={"word": "tide"},
            output=[{"type": "text", "text": "ebb"}],
        ),
    ),
    "files": (AnswerFile(id="file_2"),),
    "searches": 1,
}

# Gemini, which counts bytes

_GEMINI_PARTS = [
    {"executableCode": {"language": "PYTHON", "code": "print(6 * 7)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "no"}},
    {"text": "Flut kam um neun… der Hafen öffnet um sechs."},
    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
]
_GEMINI_METADATA = {
    "groundingMetadata": {
        "webSearchQueries": ["Flut", "Hafen"],
        "groundingChunks": [
            {"web": {"uri": "https://example.org/tides", "title": "Tides"}},
            {"retrievedContext": {"title": "harbour.txt", "text": "opens at six", "fileSearchStore": "stores/s1"}},
        ],
        "groundingSupports": [
            {"segment": {"endIndex": 16, "text": "Flut kam um neun"}, "groundingChunkIndices": [0]},
            {
                "segment": {"startIndex": 20, "endIndex": 47, "text": "der Hafen öffnet um sechs."},
                "groundingChunkIndices": [1, 0, 7],
            },
        ],
    },
    "urlContextMetadata": {
        "urlMetadata": [
            {"retrievedUrl": "https://example.org/x", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
            {"retrievedUrl": "https://example.org/y", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
        ]
    },
}
_GEMINI_USAGE = {"promptTokenCount": 20, "candidatesTokenCount": 10, "totalTokenCount": 30}
GEMINI = {
    "candidates": [
        {"content": {"role": "model", "parts": _GEMINI_PARTS}, "finishReason": "STOP", "index": 0, **_GEMINI_METADATA}
    ],
    "modelVersion": "m",
    "responseId": "r1",
    "usageMetadata": _GEMINI_USAGE,
}


def _build_piece(*parts, **more):
    candidate = {"content": {"role": "model", "parts": [*parts]}, "index": 0, **more}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r1", "usageMetadata": _GEMINI_USAGE}


_GEMINI_EVENTS = [
    _build_piece(_GEMINI_PARTS[0]),
    _build_piece(_GEMINI_PARTS[1]),
    _build_piece({"text": "Flut kam um neun… "}),
    _build_piece({"text": "der Hafen öffnet um sechs."}),
    _build_piece(_GEMINI_PARTS[3], finishReason="STOP", **_GEMINI_METADATA),
]
_TIDES, _HARBOUR = "https://example.org/tides", {"title": "harbour.txt", "source": "stores/s1", "text": "opens at six"}
_GEMINI_READ = {
    "citations": (
        Citation(url=_TIDES, title="Tides", start=0, end=16),
        Citation(**_HARBOUR, start=18, end=44),
        Citation(url=_TIDES, title="Tides", start=18, end=44),
    ),
    "hosted_calls": (
        HostedCall(kind="code_execution", name="codeExecution", input="print(6 * 7)", output="no", is_error=True),
        HostedCall(kind="web_search", name="googleSearch", input={"queries": ["Flut", "Hafen"]}),
        HostedCall(kind="web_fetch", name="urlContext", input={"url": "https://example.org/x"}),
        HostedCall(kind="web_fetch", name="urlContext", input={"url": "https://example.org/y"}, is_error=True),
    ),
    "files": (AnswerFile(mime_type="image/png", data=PIXEL),),
    "searches": 2,
}

# OpenRouter

_NOTES = [
    {
        "type": "url_citation",
        "url_citation": {"url": _TIDES, "title": "Tides", "content": "09:00", "start_index": 0, "end_index": 22},
    }
]
_IMAGES = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
_CHAT_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "total_tokens": 30,
    "server_tool_use_details": {"web_search_requests": 2},
}
OPENROUTER = {
    "id": "gen-1",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": _OPENAI_TEXT, "annotations": _NOTES, "images": _IMAGES},
        }
    ],
    "usage": _CHAT_USAGE,
}


def _build_chunk(delta, **more):
    return {"id": "gen-1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more}


_OPENROUTER_EVENTS = [
    _build_chunk({"role": "assistant", "content": "High water "}),
    _build_chunk({"content": "is at nine."}),
    _build_chunk({"content": "", "annotations": _NOTES, "images": _IMAGES}),
    {"id": "gen-1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "gen-1", "model": "m", "choices": [], "usage": _CHAT_USAGE},
]
_OPENROUTER_READ = {
    "citations": (Citation(url=_TIDES, title="Tides", text="09:00", start=0, end=22),),
    "hosted_calls": (),
    "files": (AnswerFile(mime_type="image/png", data=PIXEL),),
    "searches": 2,
}

#: By provider: the tools of the call, the body of the answer, its events, and what is to be read in both.
ANSWERS = {
    "openai": ([WebSearch(), CodeExecution(), FileSearch(stores=["vs_1"]), MCP], OPENAI, _OPENAI_EVENTS, _OPENAI_READ),
    "anthropic": (
        [WebSearch(), WebFetch(), CodeExecution(), MCP],
        ANTHROPIC,
        _ANTHROPIC_EVENTS,
        _ANTHROPIC_READ,
    ),
    "gemini": ([WebSearch(), WebFetch(), CodeExecution(), MCP], GEMINI, _GEMINI_EVENTS, _GEMINI_READ),
    "openrouter": ([WebSearch()], OPENROUTER, _OPENROUTER_EVENTS, _OPENROUTER_READ),
}
