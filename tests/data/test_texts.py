import pytest

from pollux_sync.data.reply import Reply, ToolCall
from pollux_sync.data.texts import replace_nested_surrogates, replace_surrogates, split_half_character


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("plain", "plain"),
        ("größe 😀", "größe 😀"),
        ("cut \ud83d", "cut \ufffd"),
        ("\ude00 cut", "\ufffd cut"),
        ("\ud83d\ude00", "😀"),
        ("caf\udce9.txt", "caf\ufffd.txt"),
    ],
)
def test_lone_halves_are_replaced_and_pairs_joined(text, whole):
    assert replace_surrogates(text) == whole


def test_nested_data_is_replaced_with_its_names():
    value = {"a\ud83d": ["x\ud83d", {"b": ("\ude00", 7, None)}]}
    assert replace_nested_surrogates(value) == {"a\ufffd": ["x\ufffd", {"b": ["\ufffd", 7, None]}]}


def test_data_without_lone_surrogates_is_not_copied():
    value = {"a": ["größe"]}
    assert replace_nested_surrogates(value) is value


@pytest.mark.parametrize(
    ("text", "parts"), [("", ("", "")), ("ab", ("ab", "")), ("a\ud83d", ("a", "\ud83d")), ("a\ude00", ("a\ude00", ""))]
)
def test_the_first_half_of_a_character_is_split_off(text, parts):
    assert split_half_character(text) == parts


def test_a_reply_is_made_whole():
    reply = Reply(
        text="a\ud83d",
        reasoning="b\ud83d",
        tool_calls=(ToolCall("i", "n", '{"c": "\ud83d"}'),),
        provider_state={"d": ["\ud83d"]},
        artifacts={"e": "\ud83d"},
    )
    whole = reply.replace_surrogates()
    assert (whole.text, whole.reasoning, whole.provider_state, whole.artifacts) == (
        "a\ufffd",
        "b\ufffd",
        {"d": ["\ufffd"]},
        {"e": "\ufffd"},
    )
    assert whole.tool_calls == (ToolCall("i", "n", '{"c": "\ufffd"}'),)


@pytest.mark.parametrize("reply", [Reply(text="plain"), Reply(text="größe", reasoning="so", tool_calls=())])
def test_a_whole_reply_is_not_copied(reply):
    assert reply.replace_surrogates() is reply
