"""The loop of a sender, here in a thread: in its own process only its answers can be seen."""

import os
import pickle
import threading

import pytest

from bulk_service import Service, answer
from pollux_batch.data.messages import LaneOpening, OutgoingCall
from pollux_batch.passing import pack_message, read_message
from pollux_batch.sending import READY, Sender
from pollux_sync import APIError, Config, PolluxError
from pollux_sync.plugin import HttpRequest
from pollux_sync.testing.server import Answer
from sending_plugin import Homesick, Interrupting, Quitting, Strange


@pytest.fixture
def service():
    with Service() as service:
        yield service


class Pipes:
    """A sender between two pipes."""

    def __init__(self):
        calls, self._to_sender = os.pipe()
        self._answers, answers = os.pipe()
        self.calls = os.fdopen(self._to_sender, "wb")
        self.answers = os.fdopen(self._answers, "rb")
        sender = Sender(os.fdopen(calls, "rb"), os.fdopen(answers, "wb"))
        self.thread = threading.Thread(target=sender.run)
        self.thread.start()
        assert read_message(self.answers) == READY

    def exchange(self, message):
        """Send a message; return the answer to it."""
        self.calls.write(pack_message(message))
        self.calls.flush()
        incoming = read_message(self.answers)
        assert incoming.number == message.number
        return incoming.answer


@pytest.fixture
def pipes(service):
    """A sender, its first lane opened without plugins."""
    pipes = Pipes()
    assert open_lane(pipes, service, lane=0) == READY.answer
    yield pipes
    pipes.calls.close()
    pipes.thread.join(10)
    pipes.answers.close()
    assert not pipes.thread.is_alive()


def open_lane(pipes, service, *plugins, lane=1):
    config = Config(provider="local", model="m", base_url=f"{service.url}/v1", plugins=plugins)
    return pipes.exchange(LaneOpening(7, lane, pickle.dumps(config)))


def ask(pipes, prompt="Who?", lane=0):
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    return pipes.exchange(OutgoingCall(8, lane, HttpRequest(path="/chat/completions", body=body), 10.0))


def test_carries_calls_out_until_their_pipe_ends(pipes, service):
    for prompt in ("Who?", "When?"):
        assert ask(pipes, prompt).body["choices"][0]["message"]["content"] == f"re: {prompt}"
    assert service.prompts == ["Who?", "When?"]


def test_returns_the_error_of_a_refused_call(pipes, service):
    service.handler = lambda _: Answer(status=401, json={"error": {"message": "who are you?"}})
    error = ask(pipes)
    assert isinstance(error, APIError)
    assert (error.status_code, "who are you?" in str(error)) == (401, True)
    service.handler = lambda _: answer("back")
    assert ask(pipes).status == 200


@pytest.mark.parametrize(
    ("plugin", "prompt", "kind", "words"),
    [
        (Strange(), "Who?", PolluxError, "a and b"),
        (Quitting(), "quit", SystemExit, "7"),
        (Quitting(), "complain", SystemExit, "no and licence"),
        (Interrupting(), "Who?", KeyboardInterrupt, ""),
    ],
)
def test_returns_what_a_plugin_raises(pipes, service, plugin, prompt, kind, words):
    assert open_lane(pipes, service, plugin) == READY.answer
    returned = ask(pipes, prompt, lane=1)
    assert isinstance(returned, kind)
    assert words in str(returned)
    assert ask(pipes).status == 200


def test_says_why_a_configuration_cannot_be_opened(pipes, service):
    error = open_lane(pipes, service, Homesick())
    assert "ImportError: not here" in str(error)
    assert ask(pipes).status == 200
