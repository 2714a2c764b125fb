"""The interface of the hooks, as the file of the last release has it."""

import copy
import json

import pytest

from hookspecs import FILE, describe_hooks, list_changes


def test_file_is_that_of_the_code():
    changes = list(list_changes(json.loads(FILE.read_text()), describe_hooks()))
    assert changes == [], "run python tools/hookspecs.py --write, and raise API_VERSION as the changes ask for"
    assert json.loads(FILE.read_text()) == describe_hooks()


@pytest.fixture
def hooks():
    return copy.deepcopy(describe_hooks())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda hooks: hooks.pop("pollux_decode"), "breaks: pollux_decode is gone"),
        (lambda hooks: hooks.update(pollux_new=hooks["pollux_event"]), "adds: pollux_new is new"),
        (lambda hooks: hooks.update(pollux_new=hooks["pollux_encode"]), "breaks: pollux_new is new"),
        (lambda hooks: hooks["pollux_encode"]["arguments"].pop("call"), "breaks: pollux_encode has lost call"),
        (lambda hooks: hooks["pollux_encode"]["arguments"].update(plan="Plan"), "adds: pollux_encode has plan"),
        (lambda hooks: hooks["pollux_encode"].update(first_result=False), "breaks: first_result of pollux_encode was"),
        (lambda hooks: hooks["pollux_event"].update(required=True), "breaks: required of pollux_event was"),
        (lambda hooks: hooks["pollux_encode"].update(returns="int"), "look: returns of pollux_encode was"),
        (lambda hooks: hooks["pollux_encode"]["arguments"].update(call="int"), "look: call of pollux_encode was"),
    ],
)
def test_each_change_is_told_with_what_it_does_to_plugins(hooks, change, line):
    change(hooks["hooks"])
    (told,) = list_changes(describe_hooks(), hooks)
    assert told.startswith(line)
