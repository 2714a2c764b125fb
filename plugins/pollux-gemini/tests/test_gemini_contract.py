"""The contract suite, with the Gemini API behind the provider, through the core's client and the caller's."""

import sys
from pathlib import Path

from gemini_api import Files, GeminiFacts, error, piece, text
from gemini_batches import Batches
from gemini_streams import ANSWERS, TOOLS
from pollux_sync import Options
from pollux_sync.plugin import Reply, ToolCall, Usage
from pollux_sync.testing.contract import (
    ConversationContract,
    DeferredContract,
    FaultCase,
    FilesContract,
    ProviderContract,
    SchemaContract,
    SDKContract,
    StreamingContract,
    Transcript,
)
from pollux_sync.testing.server import Answer
from schema_types import TYPES
from streams import sse

HERE = Path(__file__).parent
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"}
TOO_LONG = "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."
BROKE = {"error": {"code": 503, "message": "broke"}}

#: What google-genai's types name, and nothing else.
KEYWORDS = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
    *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required"),
}

#: What the service's made-up answers cost.
USAGE = Usage(input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=2)


def list_keywords(schema):
    """Every keyword of a schema and of those inside it."""
    if not isinstance(schema, dict):
        return set()
    named = [inner for name in ("properties", "$defs") for inner in schema.get(name, {}).values()]
    listed = [inner for name in ("anyOf", "oneOf", "prefixItems") for inner in schema.get(name, [])]
    inside = [*named, *listed, schema.get("items"), schema.get("additionalProperties")]
    return set(schema).union(*map(list_keywords, inside))


class Facts(GeminiFacts):
    def fault_cases(self):
        bad_key = error(400, "API key not valid. Please pass a valid API key.", details=[BAD_KEY])
        return super().fault_cases() | {
            "too long": FaultCase(error(400, TOO_LONG), "context_overflow", 400),
            "bad key": FaultCase(bad_key, "auth", 400),
            "rate limit": FaultCase(error(429, "slow", "RESOURCE_EXHAUSTED", [WAIT]), "rate_limit", 429, 2),
            "error inside a 200": FaultCase(Answer(json=BROKE), "capacity", 503, 2),
            "an error in a list": FaultCase(Answer(status=503, json=[BROKE]), "capacity", 503, 2),
            "no answer": FaultCase(Answer(json={}), "malformed", 200),
        }


class TestGeminiConversations(Facts, ConversationContract):
    pass


class TestGemini(Facts, ProviderContract):
    pass


class TestGeminiStreams(Facts, StreamingContract):
    joins_streams = True
    transcripts = {
        name: Transcript(body, sse(*pieces), Options(tools=TOOLS)) for name, (pieces, body) in ANSWERS.items()
    }
    partial = sse(piece(text("half")))
    replies = {
        "text": Reply(text="Zürich!", usage=USAGE, finish_reason="stop"),
        "tool": Reply(
            tool_calls=(ToolCall("a1", "weather", '{"city": "Zürich"}'),), usage=USAGE, finish_reason="tool_calls"
        ),
    }


class TestGeminiFiles(GeminiFacts, FilesContract):
    files = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.mp3": b"ID3\x04 c"}
    failing = b"c.mp3"

    def serve_files(self):
        return Files()


class TestGeminiJobs(GeminiFacts, DeferredContract):
    def serve_jobs(self):
        return Batches()

    def list_jobs(self, service):
        return service.batches

    def list_files(self, service):
        return [file for file in service.files.values() if file.facts["source"] != "GENERATED"]

    def expect_answer(self, prompt):
        return f"said {prompt}"


class TestGeminiSchemas(GeminiFacts, SchemaContract):
    values = TYPES

    def read_schema(self, body):
        sent = body["generationConfig"]
        assert sent["responseMimeType"] == "application/json"
        assert list_keywords(sent["responseJsonSchema"]) <= KEYWORDS
        return sent["responseJsonSchema"]


class TestGeminiSDK(SDKContract):
    sdk = "google.genai"
    oldest_version = "3.0.0"
    oldest_folder = Path(sys.prefix) / "oldest-sdks"
    test_files = [
        HERE / f"test_gemini_{name}.py" for name in ("contract", "ways", "files", "conversing", "deferred", "services")
    ]
