"""One odd answer anywhere in the life of a deferred job: an error about the service, never a defect of a plugin."""

import json
import random

import attrs
import pytest

import anthropic_batches
import gemini_batches
import openai_batches
from odd_json import ODD_VALUES, iter_paths, replace_part
from pollux_sync import (
    Config,
    InternalError,
    PolluxError,
    RetryPolicy,
    cancel_deferred,
    collect_deferred,
    defer_many,
    inspect_deferred,
)
from pollux_sync.testing.server import Answer, ScriptedServer

pytestmark = pytest.mark.drawn


@attrs.define
class Changing:
    """A service of which one answer is changed: the one with this number, in one field that ``draw`` chooses."""

    service: object
    index: int
    draw: random.Random
    count: int = 0
    change: object = None

    def __call__(self, request):
        try:
            step = self.service(request)
        except Exception:  # noqa: BLE001 - the scripted service does not expect what an odd answer led to
            return Answer(status=500, json={"error": {"message": "unexpected"}})
        self.count += 1
        if self.count - 1 != self.index or not isinstance(step, Answer):
            return step
        if step.json is not None:
            return attrs.evolve(step, json=self.change_field(step.json))
        rows = self.change_field([json.loads(line) for line in step.body.splitlines()])
        lines = map(json.dumps, rows if isinstance(rows, list) else [rows])
        return attrs.evolve(step, body="\n".join(lines).encode())

    def change_field(self, body):
        path, part = self.draw.choice(list(iter_paths(body))), self.draw.choice(ODD_VALUES)
        self.change = path, part
        return replace_part(body, path, part)


SERVICES = {
    "openai": (openai_batches.OpenAIBatches, "/v1"),
    "anthropic": (anthropic_batches.Batches, ""),
    "gemini": (gemini_batches.Batches, ""),
}


#: As many requests as a job of `live_through` takes at most.
MOST_REQUESTS = 12


def live_through(config):
    """Submit a job, look at it until it has ended, collect it. Each part may fail on its own."""
    handle = attempt(defer_many, ["a", "b"], config=config)
    if handle is not None:
        for act in (inspect_deferred, cancel_deferred, *[inspect_deferred] * 3, collect_deferred, collect_deferred):
            attempt(act, handle, config=config)


def attempt(act, *arguments, **fields):
    """Return what a call returns; None if it raised an error that is not about a defect."""
    try:
        return act(*arguments, **fields)
    except InternalError:
        raise
    except PolluxError:
        return None


@pytest.mark.parametrize("provider", SERVICES)
def test_an_odd_answer_is_no_defect_of_a_plugin(soak, provider):
    build, path = SERVICES[provider]
    with ScriptedServer() as server:
        facts = {"model": "m", "base_url": f"{server.url}{path}", "retry": RetryPolicy(max_attempts=1)}
        config = Config(provider=provider, api_key="key-of-the-tests", **facts)
        for _ in range(soak.rounds):
            server.handler = service = Changing(build(), soak.draw.randrange(MOST_REQUESTS), soak.draw)
            try:
                live_through(config)
            except Exception as error:
                error.add_note(f"the answer was changed: {service.change}")
                raise
