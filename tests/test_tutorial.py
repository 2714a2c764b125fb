"""The tool loop of the tutorial, with the model that it is written for and with the mock."""

from pathlib import Path

import pytest

from demo_model import find_demo_model
from doc_blocks import list_chains
from pollux_sync import Config

(CHAIN,) = list_chains(Path(__file__).parents[1] / "docs" / "tutorial.md")
(TEMPLATE,) = [block for block in CHAIN if "chat_template" in block.code]
(LOOP,) = [block for block in CHAIN if "result = run_tools(" in block.code and "use_mock" not in block.code]


def looped(config, *before):
    """The result of the loop, and what its tools came to, as the page's code has them after these blocks."""
    namespace = {"__name__": "example", "config": config}
    for block in (*before, LOOP):
        block.run(namespace)
    result = namespace["result"]
    runs = [run for step in result["diagnostics"]["steps"] for run in step["tool_runs"]]
    return result, [(run["name"], run["content"], run["is_error"]) for run in runs]


def test_small_model_calls_the_function_and_tells_its_result():
    result, told = looped(Config(provider="local", model=str(find_demo_model())), TEMPLATE)
    assert told == [("opening_hours", "10 to 17", False)]
    assert "10 to 17" in result["answers"][0]


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "local", "openai", "openrouter"])
def test_mock_calls_the_function_under_every_providers_name(provider):
    result, told = looped(Config(provider=provider, model="any", use_mock=True))
    assert told == [("opening_hours", "closed", False)]
    assert result["answers"] == ["echo: closed"]
