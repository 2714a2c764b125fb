from dataclasses import dataclass, field

import pytest

from documents import build_source
from pollux_convert import Convert
from pollux_sync import Config, explain

PROVIDERS = {
    "local": {"model": "m", "base_url": "http://127.0.0.1:9/v1"},
    "anthropic": {"model": "claude-sonnet-4-6", "api_key": "made-up"},
}


@dataclass
class Shown:
    """What a provider would get of a document."""

    text: str
    pictures: int
    types: list = field(default_factory=list)
    lines: list = field(default_factory=list)


def find_texts(value):
    if isinstance(value, dict):
        return [value["text"]] if isinstance(value.get("text"), str) else find_texts([*value.values()])
    return [text for inner in value for text in find_texts(inner)] if isinstance(value, list) else []


@pytest.fixture
def show():
    """Return a function that explains a question about a document to a provider, with the plugin."""

    def show(data, kind, provider="local", **limits):
        config = Config(provider=provider, plugins=[Convert(**limits)], **PROVIDERS[provider])
        shown = explain("What is it?", sources=[build_source(data, kind)], config=config)
        (content,) = [message["content"] for message in shown.requests[0].body["messages"] if message["role"] == "user"]
        blocks = content if isinstance(content, list) else [{"text": content}]
        return Shown(
            text="\n".join(find_texts(blocks)),
            pictures=sum(block.get("type") in {"image", "image_url"} for block in blocks),
            types=[source.mime_type for source in shown.sources],
            lines=[line.strip() for line in str(shown).splitlines() if "converted" in line],
        )

    return show
