"""The contract suite, with OpenRouter behind the provider."""

from openrouter_api import OpenRouterFacts
from pollux_sync.testing.contract import ConversationContract, ProviderContract, SchemaContract
from schema_types import TYPES


class TestOpenRouterConversations(OpenRouterFacts, ConversationContract):
    pass


class TestOpenRouter(OpenRouterFacts, ProviderContract):
    pass


class TestOpenRouterSchemas(OpenRouterFacts, SchemaContract):
    values = TYPES

    def read_schema(self, body):
        sent = body["response_format"]["json_schema"]
        assert sent["strict"]
        return sent["schema"]
