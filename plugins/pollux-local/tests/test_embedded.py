import json
import os
import subprocess
import sys

import attrs
import pytest

from pollux_local.embedded import stop_servers
from pollux_sync import APIError, Config, ConfigurationError, ContextOverflowError, Options, Source, run, run_many
from pollux_sync.testing.server import Answer, ScriptedServer
from tiny_gguf import ANSWER, CONTEXT_TOKENS


@attrs.frozen
class City:
    name: str
    is_capital: bool


@pytest.fixture
def config(model):
    def make(**fields):
        return Config(provider="local", model=str(model), **fields)

    return make


def test_answers_from_a_real_model(config):
    result = run("hello", config=config())
    assert result["answers"] == [ANSWER]
    assert result["metrics"]["finish_reasons"] == ["stop"]
    assert result["usage"]["input_tokens"] > 0
    assert result["usage"]["output_tokens"] > 0
    assert result["diagnostics"]["raw_responses"][0]["model"] == "tiny"


@pytest.mark.parametrize("is_configured", [True, False], ids=["configuration", "environment"])
def test_sends_no_prompt_to_a_proxy(config, monkeypatch, is_configured):
    with ScriptedServer(default=Answer(status=502)) as proxy:
        if not is_configured:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
        # Settings of its own, so that the server is started here.
        options = {"n_ctx": CONTEXT_TOKENS - 1 - is_configured}
        fields = {"proxy": proxy.url} if is_configured else {}
        assert run("hello", config=config(provider_options=options, **fields))["answers"] == [ANSWER]
        assert proxy.requests == []


def test_stops_at_max_tokens(config):
    result = run("hello", config=config(), options=Options(max_tokens=3))
    assert result["metrics"]["finish_reasons"] == ["length"]
    assert result["usage"]["output_tokens"] == 3


def test_fans_out_over_the_slots(config):
    source = Source.from_text("a text that all prompts share")
    result = run_many([f"question {n}" for n in range(20)], sources=[source], config=config())
    assert result["answers"] == [ANSWER] * 20


def test_gives_typed_answers_that_the_server_enforces(config):
    result = run("a city", config=config(), options=Options(response_schema=City, temperature=0))
    assert isinstance(result["structured"][0], City), result["diagnostics"]


def test_converses(config):
    first = run("hello", config=config(), options=Options(history=[]))
    second = run("again", config=config(), options=Options(continue_from=first))
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_recognises_a_context_that_is_too_small(config):
    with pytest.raises(APIError) as caught:
        run("word " * CONTEXT_TOKENS * 2, config=config())
    assert (caught.value.kind, caught.value.status_code) == ("context_overflow", 400)
    assert len(caught.value.attempts) == 1


def test_says_that_a_text_model_sees_no_images(config, tmp_path):
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(APIError, match="image input is not supported") as caught:
        run("what?", source=Source.from_file(tmp_path / "cat.png"), config=config())
    assert len(caught.value.attempts) == 1


def test_takes_settings_of_the_embedded_server(config):
    small = config(provider_options={"n_ctx": 512, "n_threads": 1, "n_parallel": 1})
    with pytest.raises(ContextOverflowError) as caught:
        run("word " * 1000, config=small)
    assert caught.value.n_ctx == 512


def test_refuses_settings_that_it_does_not_declare(config):
    with pytest.raises(ConfigurationError, match="n_gpus") as caught:
        config(provider_options={"n_gpus": 8})
    assert "n_ctx" in caught.value.hint


def test_says_when_a_model_file_is_broken(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(ConfigurationError, match=r"cannot load .*broken\.gguf"):
        run("hello", config=Config(provider="local", model=str(tmp_path / "broken.gguf")))


def test_talks_to_a_server_that_was_started_elsewhere(config, model):
    from pollux_local.embedded import _servers

    run("hello", config=config())
    (running,) = [r for key, r in _servers.items() if key.path == str(model) and not (key.n_ctx or key.chat_template)]
    remote = Config(provider="local", model="any", base_url=f"{running.url}/v1", api_key=running.api_key)
    assert run("hello", config=remote)["answers"] == [ANSWER]


def test_keeps_others_out(config, model):
    from pollux_local.embedded import _servers

    run("hello", config=config())
    (running,) = [r for key, r in _servers.items() if key.path == str(model) and not (key.n_ctx or key.chat_template)]
    with pytest.raises(APIError) as caught:
        run("hello", config=Config(provider="local", model="any", base_url=f"{running.url}/v1"))
    assert caught.value.kind == "auth"


def test_starts_anew_after_a_stop(config):
    run("hello", config=config())
    stop_servers()
    with pytest.raises(APIError):
        run("hello", config=config())
    from pollux_sync.process import clients

    clients.close()
    assert run("hello", config=config())["answers"] == [ANSWER]


def script(model, text, first=""):
    code = f"import atexit, os, sys, threading\n{first}\nfrom pollux_sync import *\n"
    code += f"config = Config(provider='local', model={str(model)!r})\n{text}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_script_ends_cleanly_and_quietly(model):
    done = script(model, "print(run('hi', config=config)['answers'][0])")
    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER + "\n", "")


def test_a_script_ends_although_a_call_is_in_flight(model):
    done = script(
        model,
        "run('hi', config=config)\n"
        "long = Options(provider_options={'local': {'ignore_eos': True}})\n"
        "threading.Thread(target=run, args=('hi',), kwargs={'config': config, 'options': long}, daemon=True).start()\n"
        "import time; time.sleep(0.3)\n",
    )
    assert done.returncode == 0


def test_loads_no_model_while_the_process_ends(model):
    # A server with a call in flight could not be stopped any more, so the process would never end.
    done = script(
        model,
        "def ask():\n"
        "    try: run('hi', config=config)\n"
        "    except ConfigurationError as error: print(str(error).splitlines()[0])\n"
        "run('hi', config=config)\n",
        # Exit handlers run in reverse order: this one after those that close clients and stop servers.
        first="atexit.register(lambda: ask())",
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "the process is ending, so no model is loaded any more\n",
        "",
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_workers_share_the_parents_server(model):
    done = script(
        model,
        "import multiprocessing\n"
        "def ask(prompt): return run(prompt, config=config)['answers'][0]\n"
        "run('hi', config=config)\n"
        "pool = multiprocessing.get_context('fork').Pool(2)\n"
        "print(*pool.map(ask, 'abcd'), sep='\\n')\n"
        # Not `with`, which terminates the workers: some would die while they write what coverage measured.
        "pool.close(); pool.join()\n"
        "print(ask('still there'))\n",
    )
    assert (done.returncode, done.stdout) == (0, f"{ANSWER}\n" * 5)


def test_stored_results_are_json(config):
    from pollux_sync import to_jsonable

    result = run("a city", config=config(), options=Options(response_schema=City, temperature=0))
    assert json.loads(json.dumps(to_jsonable(result)))["structured"][0].keys() == {"name", "is_capital"}
