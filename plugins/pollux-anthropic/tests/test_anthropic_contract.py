"""The contract suite, with Anthropic's API behind the provider, through the core's client and the caller's."""

import sys
from pathlib import Path

from anthropic_batches import Batches
from messages_api import AnthropicFacts, Files, build_start_event, events, text_block
from messages_streams import TRANSCRIPTS
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

HERE = Path(__file__).parent
BROKE = {"type": "error", "error": {"type": "api_error", "message": "broke"}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

#: What the service's made-up answers cost.
USAGE = Usage(
    input_tokens=17, output_tokens=7, total_tokens=24, reasoning_tokens=3, cached_tokens=4, cache_write_tokens=2
)


class Facts(AnthropicFacts):
    def fault_cases(self):
        return super().fault_cases() | {
            "conflict": FaultCase(self.refuse(409, "locked"), "invalid_request", 409, 2),
            "error inside a 200": FaultCase(Answer(json=BROKE), "capacity", 500, 2),
            "overloaded inside a 200": FaultCase(Answer(json=OVERLOADED), "capacity", 529, 2),
        }


class TestAnthropicConversations(Facts, ConversationContract):
    pass


class TestAnthropic(Facts, ProviderContract):
    pass


class TestAnthropicStreams(Facts, StreamingContract):
    joins_streams = True
    transcripts = {name: Transcript(body, events(*said)) for name, (said, body) in TRANSCRIPTS.items()}
    partial = events(build_start_event(), *text_block(0, "half")[:2])
    replies = {
        "text": Reply(text="Hello wörld", usage=USAGE, finish_reason="stop"),
        "tool": Reply(tool_calls=(ToolCall("toolu_1", "ping", '{"né": 1}'),), usage=USAGE, finish_reason="tool_calls"),
    }


class TestAnthropicFiles(AnthropicFacts, FilesContract):
    files = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.gif": b"GIF89a c"}
    failing = b"GIF89a c"

    def serve_files(self):
        return Files()


class TestAnthropicJobs(AnthropicFacts, DeferredContract):
    def serve_jobs(self):
        return Batches()

    def list_jobs(self, service):
        return service.account.batches

    def list_files(self, service):
        return service.account.files

    def expect_answer(self, prompt):
        return f"re: {prompt}"

    def end_jobs(self, service):
        for batch in service.account.batches:
            service.end(batch)


class TestAnthropicSchemas(AnthropicFacts, SchemaContract):
    values = TYPES

    def read_schema(self, body):
        sent = body["output_config"]["format"]
        assert sent["type"] == "json_schema"
        return sent["schema"]


class TestAnthropicSDK(SDKContract):
    sdk = "anthropic"
    oldest_version = "2.0.0"
    oldest_folder = Path(sys.prefix) / "oldest-sdks"
    test_files = [
        HERE / f"test_anthropic_{name}.py"
        for name in ("contract", "ways", "stream_ways", "files", "deferred", "services")
    ]
