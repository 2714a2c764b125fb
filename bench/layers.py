"""Middleware as contestants: pollux-local with one of them, with all, and with none. Runs in this environment."""

from __future__ import annotations

from itertools import count

from contestants import MODEL, OursLocal


class Bare(OursLocal):
    """No middleware. Each prompt has data to redact, and none is asked twice."""

    def open(self) -> None:
        self.numbers = count()
        super().open()

    def build_fields(self) -> dict:
        return super().build_fields() | {"plugins": self.build_layers()}

    def build_layers(self) -> list:
        """Return the middleware, from the inner to the outer."""
        return []

    def ask(self, prompt: str) -> str:
        return super().ask(self.extend_prompt(prompt))

    def ask_many(self, prompts: list[str]) -> list[str]:
        return super().ask_many([*map(self.extend_prompt, prompts)])

    def extend_prompt(self, prompt: str) -> str:
        return f"{next(self.numbers)}: I am ada@lamp.example. {prompt}"


class WithLimit(Bare):
    def build_layers(self) -> list:
        from pollux_limit import Limit

        return [Limit(requests_per_minute=1e9, tokens_per_minute=1e12)]


class WithCost(Bare):
    def build_layers(self) -> list:
        from pollux_cost import Cost, Price

        return [Cost(budget_usd=1e6, prices={MODEL: Price(input=0.25, output=2)})]


class WithFallback(Bare):
    def build_layers(self) -> list:
        from pollux_fallback import Fallback
        from pollux_sync import Config

        return [Fallback(Config(provider="mock", model=MODEL))]


class WithCache(Bare):
    def build_layers(self) -> list:
        from pollux_cache import Cache

        return [Cache("answers.sqlite")]


class WithHits(WithCache):
    """Answers from the file: every prompt has been asked before."""

    def extend_prompt(self, prompt: str) -> str:
        return f"I am ada@lamp.example. {prompt}"


class WithLog(Bare):
    def build_layers(self) -> list:
        from pollux_log import Log

        return [Log("calls.sqlite")]


class WithOtel(Bare):
    def build_layers(self) -> list:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

        from pollux_otel import Otel

        class Discarding(SpanExporter):
            def export(self, _spans: object) -> SpanExportResult:
                return SpanExportResult.SUCCESS

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Discarding()))
        return [Otel(tracer_provider=provider)]


class WithRedact(Bare):
    def build_layers(self) -> list:
        from pollux_redact import Redact

        return [Redact(names=["Ada Morrow"])]


class WithAll(Bare):
    """All seven, in the documented order."""

    def build_layers(self) -> list:
        order = (WithLimit, WithCost, WithFallback, WithCache, WithLog, WithOtel, WithRedact)
        return [layer for adapter in order for layer in adapter.build_layers(self)]
