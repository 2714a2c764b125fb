"""The contract suite, with a Chat Completions server behind the provider."""

from chat_api import LocalFacts
from chat_streams import TRANSCRIPTS, chunk
from pollux_sync import Options
from pollux_sync.plugin import Reply, ToolCall, Usage
from pollux_sync.testing.contract import (
    ConversationContract,
    ProviderContract,
    SchemaContract,
    StreamingContract,
    Transcript,
)
from schema_types import TYPES
from streams import sse

ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
TOOLS = Options(tools=[ADD, ADD | {"name": "sub"}])

#: What the service's made-up answers cost.
USAGE = Usage(input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=4)


class TestLocalConversations(LocalFacts, ConversationContract):
    pass


class TestLocal(LocalFacts, ProviderContract):
    pass


class TestLocalStreams(LocalFacts, StreamingContract):
    joins_streams = True
    transcripts = {
        name: Transcript(body, stream, TOOLS if "tool" in name else None)
        for name, (body, stream) in TRANSCRIPTS.items()
    }
    partial = sse(chunk(content="half"))
    replies = {
        "text": Reply(text="Hé, 世界!", usage=USAGE, finish_reason="stop"),
        "tool call": Reply(
            tool_calls=(ToolCall("call_1", "add", '{"a": 1}'),), usage=USAGE, finish_reason="tool_calls"
        ),
    }


class TestLocalSchemas(LocalFacts, SchemaContract):
    values = TYPES

    def read_schema(self, body):
        return body["response_format"]["json_schema"]["schema"]
