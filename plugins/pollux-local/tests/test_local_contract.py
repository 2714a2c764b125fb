"""The contract suite, with a Chat Completions server behind the provider."""

from chat_api import LocalFacts
from chat_streams import TRANSCRIPTS, chunk
from pollux_sync import Options
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


class TestLocalSchemas(LocalFacts, SchemaContract):
    values = TYPES

    def read_schema(self, body):
        return body["response_format"]["json_schema"]["schema"]
