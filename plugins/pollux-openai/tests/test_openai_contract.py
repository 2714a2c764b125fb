"""The contract suite, with OpenAI's API behind the provider, through the core's client and the caller's."""

import sys
from pathlib import Path

from openai_batches import OpenAIBatches
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
from response_streams import TRANSCRIPTS, event, texts
from responses_api import Files, OpenAIFacts, answer
from schema_types import TYPES
from streams import sse

HERE = Path(__file__).parent
TOOLS = Options(tools=[{"name": name, "parameters": {"type": "object", "properties": {}}} for name in ("add", "sub")])

#: What the service's made-up answers cost.
USAGE = Usage(
    input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=4, cache_write_tokens=1
)


def error(status, code):
    return Answer(status=status, json={"error": {"message": "no", "type": "some_error", "param": None, "code": code}})


class Facts(OpenAIFacts):
    def fault_cases(self):
        broke = {"code": "server_error", "message": "broke"}
        slow = Answer(status=429, json={"error": {"message": "slow"}}, headers={"retry-after-ms": "1"})
        return super().fault_cases() | {
            "conflict": FaultCase(self.refuse(409, "locked"), "invalid_request", 409, 2),
            "rate limit": FaultCase(slow, "rate_limit", 429, 2),
            "too long": FaultCase(error(400, "context_length_exceeded"), "context_overflow", 400),
            "no such model": FaultCase(error(404, "model_not_found"), "not_found", 404),
            "no quota": FaultCase(error(429, "insufficient_quota"), "quota", 429),
            "error inside a 200": FaultCase(answer(error=broke), "capacity", 500, 2),
        }


class TestOpenAIConversations(Facts, ConversationContract):
    pass


class TestOpenAI(Facts, ProviderContract):
    pass


class TestOpenAIStreams(Facts, StreamingContract):
    joins_streams = True
    transcripts = {
        name: Transcript(body, stream, TOOLS if "tool" in name else None)
        for name, (body, stream) in TRANSCRIPTS.items()
    }
    partial = sse(event("created", response={"id": "resp_1"}), *texts("half"))
    replies = {
        "text": Reply(text="Hé, 世界!", usage=USAGE, finish_reason="stop"),
        "tool call": Reply(
            tool_calls=(ToolCall("call_1", "add", '{"a": 1}'),), usage=USAGE, finish_reason="tool_calls"
        ),
    }


class TestOpenAIFiles(OpenAIFacts, FilesContract):
    files = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.mp3": b"ID3 c"}
    failing = b"ID3 c"

    def serve_files(self):
        return Files()


class TestOpenAIJobs(OpenAIFacts, DeferredContract):
    def serve_jobs(self):
        return OpenAIBatches()

    def list_jobs(self, service):
        return service.batches

    def list_files(self, service):
        return service.names

    def expect_answer(self, prompt):
        return prompt.upper()


class TestOpenAISchemas(OpenAIFacts, SchemaContract):
    values = TYPES

    def read_schema(self, body):
        sent = body["text"]["format"]
        assert sent["strict"]
        return sent["schema"]


class TestOpenAISDK(SDKContract):
    sdk = "openai"
    oldest_version = "3.0.0"
    oldest_folder = Path(sys.prefix) / "oldest-sdks"
    test_files = [
        HERE / f"test_openai_{name}.py"
        for name in ("contract", "ways", "stream_ways", "sdk_stream", "files", "deferred", "services")
    ]
