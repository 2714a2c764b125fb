"""Earlier turns go back to the wire paired, whole and with ids that the service takes."""

import attrs
import pytest

from pollux_sync.data.options import Options
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.request import Call, Conversation, Turn
from pollux_sync.engine.fitting import fit_call, pair_tool_results
from pollux_sync.errors import ConfigurationError

USER = Turn(role="user", content="weather?")
SAFE = r"[a-zA-Z0-9_-]+"


def call_tools(*ids, arguments="{}"):
    return Turn(role="assistant", tool_calls=tuple(ToolCall(name, f"tool_{name}", arguments) for name in ids))


def result(call_id, content="fine"):
    return Turn(role="tool", tool_call_id=call_id, content=content)


def read_results(turns):
    return [(turn.tool_call_id, turn.content) for turn in turns if turn.role == "tool"]


def test_results_are_put_into_the_order_of_their_calls():
    turns = pair_tool_results([USER, call_tools("a", "b"), result("b", "2"), result("a", "1")], completes=False)
    assert read_results(turns) == [("a", "1"), ("b", "2")]


def test_results_follow_their_calls_and_other_turns_come_after_them():
    turns = pair_tool_results([call_tools("a", "b"), result("b"), USER, result("a")], completes=False)
    assert [turn.role for turn in turns] == ["assistant", "tool", "tool", "user"]


def test_ids_that_repeat_in_later_turns_pair_within_their_turn():
    turns = (call_tools("call_0"), result("call_0", "1"), call_tools("call_0"), result("call_0", "2"))
    assert pair_tool_results(turns, completes=False) == turns


def test_calls_of_one_id_take_their_results_in_turn():
    turns = pair_tool_results([call_tools("", ""), result("", "1"), result("", "2")], completes=False)
    assert read_results(turns) == [("", "1"), ("", "2")]


def test_turns_without_tools_stay_as_they_are():
    assert pair_tool_results([USER, USER], completes=False) == (USER, USER)
    assert pair_tool_results([], completes=True) == ()


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([USER, call_tools("a")], "'a' of 'tool_a' has no result"),
        ([call_tools("a", "b"), result("a"), USER], "'b' of 'tool_b' has no result"),
        ([USER, result("a")], "'a' is in no turn before its result"),
        ([call_tools("a"), result("a"), result("b")], "'b' is in no turn before its result"),
        ([call_tools("a"), result("a"), result("a")], "'a' has two results"),
        ([result("a"), call_tools("a")], "'a' is in no turn before its result"),
    ],
)
def test_what_a_caller_wrote_and_does_not_pair_is_refused(turns, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        pair_tool_results(turns, completes=False)
    assert caught.value.hint


def test_a_call_that_an_interrupted_run_left_gets_a_failed_result():
    turns = pair_tool_results([call_tools("a", "b"), result("b"), USER], completes=True)
    assert [(turn.role, turn.tool_call_id, turn.is_error) for turn in turns[1:]] == [
        ("tool", "a", True),
        ("tool", "b", False),
        ("user", None, False),
    ]
    assert "interrupted" in turns[1].content


def fit(*turns, pattern=None, **options):
    call = Call(index=0, model="m", prompt="go on", options=Options(**options), conversation=Conversation(turns=turns))
    return fit_call(call, pattern)


def test_blank_turns_are_left_out():
    blank = Turn(role="assistant", content=" \n")
    assert fit(USER, blank, Turn(role="user")).conversation.turns == (USER,)


def test_blank_turns_with_a_state_of_their_provider_are_left_to_its_encoder():
    thought = Turn(role="assistant", provider_state={"thoughts": ["hm"]})
    assert fit(thought).conversation.turns == (thought,)


@pytest.mark.parametrize("instruction", ["", "  \n"])
def test_a_blank_instruction_is_not_sent(instruction):
    assert fit(system_instruction=instruction).options.system_instruction is None


def test_a_call_without_conversation_is_not_copied():
    call = Call(index=0, model="m", prompt="go on", options=Options(system_instruction="Be brief."))
    assert fit_call(call, SAFE) is call


@pytest.mark.parametrize("arguments", ['{"path": "a', "[1]", "7", "nulls", "nothing"])
def test_arguments_that_are_no_object_become_an_empty_one_and_the_result_says_so(arguments):
    answer, told = fit(call_tools("a", arguments=arguments), result("a", "failed")).conversation.turns
    assert answer.tool_calls[0].arguments == "{}"
    assert arguments in told.content
    assert told.content.startswith("failed")


@pytest.mark.parametrize("arguments", ["", " ", "null", " null\n"])
def test_blank_arguments_are_an_empty_object_and_no_fault(arguments):
    answer, told = fit(call_tools("a", arguments=arguments), result("a")).conversation.turns
    assert (answer.tool_calls[0].arguments, told.content) == ("{}", "fine")


@pytest.mark.parametrize("call_id", ["functions.look up:0", "größe", ""])
def test_ids_that_the_service_refuses_are_replaced_alike_in_call_and_result(call_id):
    answer, told = fit(call_tools(call_id), result(call_id), pattern=SAFE).conversation.turns
    assert answer.tool_calls[0].id == told.tool_call_id
    assert told.tool_call_id.isalnum()
    assert len(told.tool_call_id) == 9


def test_different_ids_stay_different():
    answer, *_ = fit(call_tools("a.b", "a:b"), result("a.b"), result("a:b"), pattern=SAFE).conversation.turns
    assert len({call.id for call in answer.tool_calls}) == 2


def test_ids_that_the_service_takes_stay():
    turns = (call_tools("call_1"), result("call_1"))
    assert fit(*turns, pattern=SAFE).conversation.turns == turns


def test_the_stored_conversation_keeps_what_was_said():
    turns = (call_tools("a:b", arguments="[1]"), result("a:b"))
    call = Call(index=0, model="m", prompt="q", options=Options(), conversation=Conversation(turns=turns))
    before = attrs.evolve(call)
    fit_call(call, SAFE)
    assert call == before
