from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from tiny_gguf import ANSWER, CONTEXT_TOKENS, write_tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

xllamacpp = pytest.importorskip("xllamacpp")

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}}},
    "required": ["name", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[http.client.HTTPConnection]:
    server = xllamacpp.Server(_parameters(write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")))
    client = http.client.HTTPConnection(server.listening_address.removeprefix("http://"), timeout=60)
    client.request("GET", "/slots")  # a server deleted before its main loop runs never ends
    client.getresponse().read()
    yield client
    client.close()


def _parameters(model: Path) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 2
    parameters.warmup = False
    parameters.verbosity = -1
    return parameters


def _chat(client: http.client.HTTPConnection, **options: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "Any text: é 漢 \x07"}], **options}
    client.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = json.load(client.getresponse())
    choice = answer["choices"][0]
    return {"text": choice["message"]["content"], "finish": choice["finish_reason"], "usage": answer["usage"]}


def test_the_same_model_is_written_every_time(tmp_path):
    first, second = (write_tiny_gguf(tmp_path / name) for name in ("first.gguf", "second.gguf"))

    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 1_000_000


def test_it_answers_and_stops(client):
    reply = _chat(client, temperature=0)

    assert (reply["text"], reply["finish"]) == (ANSWER, "stop")
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]


def test_it_stops_at_max_tokens(client):
    reply = _chat(client, temperature=0, max_tokens=3)

    assert (reply["text"], reply["finish"]) == ("Pollux answers every", "length")
    assert reply["usage"]["completion_tokens"] == 3


def test_a_grammar_makes_it_write_json(client):
    wanted = {"type": "json_schema", "json_schema": {"name": "item", "schema": SCHEMA, "strict": True}}
    reply = _chat(client, response_format=wanted, seed=1, max_tokens=1000)

    assert reply["finish"] == "stop"
    item = json.loads(reply["text"])
    assert item.keys() == {"name", "tags"}
    assert set(item["tags"]) <= {"a", "b"}
