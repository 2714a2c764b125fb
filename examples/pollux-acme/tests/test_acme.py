"""What every provider must do, with Acme's imaginary API behind it."""

from pollux_sync.testing.contract import ProviderContract
from pollux_sync.testing.server import Answer


class TestAcme(ProviderContract):
    provider = "acme"

    def answer(self, text: str) -> Answer:
        return Answer(json={"answer": text, "tokens": 5})
