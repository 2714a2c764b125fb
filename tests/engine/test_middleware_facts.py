"""The facts that middleware leaves in a reply: its price, its notes, and the answer as it came."""

from decimal import Decimal

import attrs
import pytest

from pollux_sync import (
    Config,
    HttpResponse,
    Options,
    Reply,
    ToolCall,
    collect_deferred,
    defer_many,
    hookimpl,
    result_of,
    run,
    run_many,
    run_tools,
    stream_many,
)
from pollux_sync.testing import Script


class Noting:
    """Notes the status of the answer, and a price for answers of one word."""

    @hookimpl
    def pollux_call(self, call, proceed):
        return self._mark(proceed(call))

    @hookimpl
    def pollux_call_stream(self, call, proceed):
        for item in proceed(call):
            yield self._mark(item) if isinstance(item, Reply) else item

    @hookimpl
    def pollux_call_deferred(self, call, proceed):
        return self._mark(proceed(call))

    def _mark(self, reply):
        cost = None if " " in reply.text else Decimal("0.25")
        status = reply.response and reply.response.status
        return attrs.evolve(reply, cost_usd=cost).add_note("noting", {"status": status})


def build_config(*answers):
    return Config(
        provider="openai", model="m", use_mock=True, request_concurrency=1, plugins=[Script(*answers), Noting()]
    )


def ask_realtime(prompts, config):
    return run_many(prompts, config=config)


def ask_deferred(prompts, config):
    return collect_deferred(defer_many(prompts, config=config), config=config)


def ask_in_stream(prompts, config):
    return stream_many(prompts, config=config).result()


@pytest.mark.parametrize("ask", [ask_realtime, ask_deferred, ask_in_stream])
def test_prices_are_in_the_metrics_and_added_up(ask):
    metrics = ask(["a", "b", "c"], build_config("one", "two words", "three"))["metrics"]
    assert (metrics["cost_usd"], metrics["costs_usd"]) == (0.5, [0.25, None, 0.25])


@pytest.mark.parametrize("ask", [ask_realtime, ask_deferred])
def test_middleware_sees_the_answer_as_it_came(ask):
    assert ask(["a"], build_config("one"))["diagnostics"]["notes"] == [{"noting": {"status": 200}}]


def test_result_without_prices_and_notes_has_no_place_for_them():
    result = run("a", config=Config(provider="openai", model="m", use_mock=True))
    assert "notes" not in result["diagnostics"]
    assert not {"cost_usd", "costs_usd"} & result["metrics"].keys()


def test_price_of_one_prompt_is_that_of_its_answer():
    result = run_many(["a", "b"], config=build_config("one", "two words"))
    assert result_of(result, 0)["metrics"]["cost_usd"] == 0.25
    assert "cost_usd" not in result_of(result, 1)["metrics"]


def test_price_of_a_tool_loop_is_that_of_all_its_requests():
    def look() -> str:
        """Look."""
        return "seen"

    called = Reply(tool_calls=(ToolCall("1", "look", "{}"),), finish_reason="tool_calls")
    result = run_tools("a", tools=[look], config=build_config(called, "one"), options=Options())
    assert result["metrics"]["cost_usd"] == 0.5
    assert [step["cost_usd"] for step in result["diagnostics"]["steps"]] == [0.25, 0.25]


def test_answer_as_it_came_is_not_stored_with_the_reply():
    reply = Reply(text="one", cost_usd=Decimal("0.25"), response=HttpResponse(status=200))
    assert Reply.from_dict(reply.to_dict()) == reply
    assert Reply.from_dict(reply.to_dict()).response is None
