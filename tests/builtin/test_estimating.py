"""What a call is expected to take, where no plugin knows better."""

import pytest

from pollux_sync import Config, Options, Source, hookimpl, stages
from pollux_sync.data.source import BytesLoader
from pollux_sync.plugin import TokenEstimate

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


def estimate(prompt="Who?", *, plugins=(), sources=(), **options):
    hooks = stages.open_hooks(Config(provider="openai", model="m", use_mock=True, plugins=plugins))
    request = stages.build_request(prompt, sources, hooks.config, Options(**options) if options else None)
    (call,) = stages.plan_calls(request, hooks).calls
    return hooks.estimate_tokens(call)


def test_goes_by_the_length_of_the_texts():
    short, long = estimate("x" * 100), estimate("x" * 7_100)
    assert long.input_tokens - short.input_tokens == 2_000


@pytest.mark.parametrize(
    "more",
    [
        {"system_instruction": "x" * 7_000},
        {"history": [{"role": "user", "content": "x" * 7_000}, {"role": "assistant", "content": "yes"}]},
        {"response_schema": {"type": "object", "description": "x" * 7_000}},
        {"sources": [Source.from_text("x" * 7_000)]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_counts_all_that_is_sent(more):
    assert estimate(**more).input_tokens > 2_000


def test_counts_an_image_by_the_tokens_that_images_take():
    image = Source("file", "a.png", "image/png", len(PNG), BytesLoader(PNG))
    assert estimate(sources=[image]).input_tokens > 1_000


def test_counts_a_document_by_its_pages():
    content = b"%PDF-1.4" + bytes(500_000)
    document = Source("file", "a.pdf", "application/pdf", len(content), BytesLoader(content))
    assert 20_000 <= estimate(sources=[document]).input_tokens < 25_000


def test_expects_no_more_output_than_is_allowed():
    assert estimate(max_tokens=20).output_tokens == estimate(max_tokens=20).max_output_tokens == 20


def test_knows_no_most_where_nothing_limits_the_output():
    assert estimate().max_output_tokens is None


def test_asks_plugins_first():
    class Counter:
        @hookimpl
        def pollux_estimate_tokens(self, call):
            return TokenEstimate(input_tokens=len(call.prompt))

    assert estimate("Who?", plugins=[Counter()]) == TokenEstimate(input_tokens=4)
