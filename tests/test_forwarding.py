"""A call of one configuration that another one answers."""

import threading

import pytest

from pollux_sync import APIError, Config, ConfigurationError, Options, Reply, WebSearch
from pollux_sync.plugin import Call, check_forwarding, forward_call, forward_stream, open_hooks
from pollux_sync.testing import Script, failing

CALL = Call(index=3, model="m", prompt="Who?", options=Options(temperature=0))
HOOKS = open_hooks(Config(provider="openai", model="m", use_mock=True))


def build_config(*answers):
    return Config(provider="gemini", model="n", use_mock=True, plugins=[Script(*answers)])


def test_other_configuration_answers():
    reply = Reply(text="Ahab", response_id="r", provider_state={"a": 1}, finish_reason="stop")
    answer = forward_call(CALL, HOOKS, build_config(reply), threading.Event())
    assert (answer.text, answer.response_id, answer.provider_state) == ("Ahab", None, None)


def test_failure_of_the_other_configuration_is_raised():
    with pytest.raises(APIError, match="too rude"):
        forward_call(CALL, HOOKS, build_config(failing(400, "too rude")), threading.Event())


def test_stream_ends_with_the_reply():
    *deltas, reply = forward_stream(CALL, HOOKS, build_config("Call me Ishmael."), threading.Event())
    assert "".join(delta.text for delta in deltas[1:]) == reply.text == "Call me Ishmael."


def test_failure_of_a_stream_is_raised():
    with pytest.raises(APIError, match="too rude"):
        list(forward_stream(CALL, HOOKS, build_config(failing(400, "too rude")), threading.Event()))


def test_refusal_of_the_other_provider_is_found_without_sending():
    config = Config(provider="local", model="n", base_url="http://127.0.0.1:9/v1", plugins=())
    check_forwarding(CALL, config)
    call = Call(index=0, model="m", prompt="Who?", options=Options(tools=[WebSearch()]))
    with pytest.raises(ConfigurationError, match="has no WebSearch"):
        check_forwarding(call, config)


@pytest.mark.parametrize("forward", [forward_call, lambda *given: list(forward_stream(*given))])
def test_nothing_is_sent_after_a_stop(forward):
    config, stop = build_config("Ahab"), threading.Event()
    stop.set()
    with pytest.raises(APIError):
        forward(CALL, HOOKS, config, stop)
    assert config.plugins[0].requests == []
