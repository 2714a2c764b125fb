"""What makes another question of an item, and what does not."""

import pytest

from bulk_service import Renderer, answer
from gemini_api import KEY, Files
from pollux_batch import BatchItem, DriftError, plan_batch, run_batch
from pollux_sync import Config, Options, Source

SYSTEM = Options(system_instruction="be brief", max_tokens=50)
LETTER = Source.from_text("Dear Ada")
NEW, OLD = [f"new {number}" for number in range(250)], [f"old {number}" for number in range(5)]


@pytest.fixture
def ask_once(ask, server):
    """Ask one item about a letter; return how many calls were made so far."""
    server.handler = lambda request: answer("7")

    def ask_once(item="Who?", **settings):
        result = ask([item], **({"options": SYSTEM, "sources": [LETTER]} | settings))
        assert result.succeeded == 1
        return len(server.requests)

    return ask_once


@pytest.mark.parametrize(
    "change",
    [
        {"item": "When?"},
        {"item": BatchItem("Who?", salt="2")},
        {"item": BatchItem("Who?", sources=[Source.from_text("P.S.")])},
        {"options": Options(system_instruction="be kind", max_tokens=50)},
        {"options": Options(system_instruction="be brief", max_tokens=51)},
        {"options": Options(system_instruction="be brief", max_tokens=50, temperature=0.5)},
        {"options": Options(system_instruction="be brief", max_tokens=50, response_schema=int)},
        {"sources": [Source.from_text("Dear Ben")]},
        {"sources": []},
    ],
    ids=["prompt", "salt", "own source", "system text", "limit", "temperature", "schema", "source", "no source"],
)
def test_asks_what_would_be_another_request(ask_once, change):
    assert ask_once() == 1
    assert ask_once(**change) == 2
    assert ask_once() == ask_once(**change) == 2


def test_asks_another_model(ask_once, config):
    ask_once()
    assert ask_once(config=config(model="other")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"item": ("mine", "Who?")},
        {"item": BatchItem("Who?", context={"row": 1})},
        {"item": BatchItem("Who?", options=SYSTEM)},
        {"item": BatchItem("Who?", sources=[LETTER]), "sources": []},
        {"workers": 3, "max_pending": 10, "ordered": True, "warm_prefix": True},
        {"parser": lambda response: response.text.upper()},
    ],
    ids=["id", "context", "own options", "own source", "workers", "parser"],
)
def test_asks_nothing_anew_for_what_is_not_sent(ask_once, change):
    assert ask_once() == ask_once(**change) == 1


def test_asks_nothing_anew_for_another_name_of_a_stored_file(server, path, tmp_path):
    server.handler = files = Files()
    (tmp_path / "one.pdf").write_bytes(b"%PDF-1.7 one")
    config = Config(provider="gemini", model="m", api_key=KEY, base_url=server.url, uploads="always")
    settings = {"config": config, "journal": path, "sources": [Source.from_file(tmp_path / "one.pdf")]}
    run_batch(["a"], **settings)
    again = run_batch(["a", "b"], **settings)
    # The file was stored twice, under a name of its own each time.
    assert (len(files.stored), again.summary()["replayed"]) == (2, 1)


def test_sends_nothing_of_a_chunk_that_has_drifted(ask, config, server):
    ask(OLD)
    newer = config(plugins=[Renderer()])
    with pytest.raises(DriftError, match="'item_250' is answered or submitted"):
        ask([*NEW, *OLD], config=newer)
    sent = server.prompts[len(OLD) :]
    assert {*sent} <= {*NEW[:200]}
    # What was sent before is kept.
    result = ask([*NEW, *OLD], config=newer, on_drift="reuse")
    assert (result.succeeded, result.summary()["replayed"]) == (255, len(OLD) + len(sent))


def test_plans_all_drift_before_anything_is_sent(ask, config, path, server):
    ask(OLD)
    plan = plan_batch([*NEW, *OLD], config=config(plugins=[Renderer()]), journal=path)
    assert (plan.drifted, plan.to_send, len(server.requests)) == (5, 255, 5)
