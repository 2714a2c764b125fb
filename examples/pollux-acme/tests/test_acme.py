"""The contract suite, with Acme's imaginary API behind the provider."""

from pollux_sync.testing.contract import ProviderContract
from pollux_sync.testing.server import Answer


class TestAcme(ProviderContract):
    provider = "acme"

    def answer(self, text: str) -> Answer:
        return Answer(json={"answer": text, "tokens": 5})
