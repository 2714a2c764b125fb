import json
import signal
import sqlite3

import pytest

from pollux_batch import run_batch
from pollux_sync import Config
from pollux_sync.testing.server import Answer, ScriptedServer

# What a shell starts in the background ignores Ctrl-C, and hands that on to the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def answer(text="hello", **usage):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} | usage
    return Answer(json={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})


def read_prompt(request):
    return request.json()["messages"][-1]["content"]


def echo(request):
    return answer(f"re: {read_prompt(request)}")


class Service(ScriptedServer):
    """A server that answers each prompt with "re: " and the prompt."""

    def __init__(self):
        super().__init__()
        self.handler = echo

    @property
    def prompts(self):
        return [read_prompt(request) for request in self.requests]


@pytest.fixture
def server():
    with Service() as server:
        yield server


@pytest.fixture
def config(server):
    def make(**fields):
        return Config(**({"provider": "local", "model": "m", "base_url": f"{server.url}/v1"} | fields))

    return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "job.journal"


@pytest.fixture
def ask(config, path):
    """Run a batch over the journal of the test."""

    def ask(items, **settings):
        return run_batch(items, **({"config": config(), "journal": path} | settings))

    return ask


@pytest.fixture
def query(path):
    """Read the journal of the test."""

    def query(statement):
        database = sqlite3.connect(path)
        try:
            return database.execute(statement).fetchall()
        finally:
            database.close()

    return query


@pytest.fixture
def read_lost(query):
    """Return what the latest run found to be lost."""
    return lambda: json.loads(query("SELECT lost FROM runs ORDER BY id DESC LIMIT 1")[0][0])
