import json

import pytest

from chat_api import completion
from chat_streams import TRANSCRIPTS
from pollux_sync import APIError, Config, ConfigurationError, Options, RetryPolicy, Source, run, run_many, stream
from pollux_sync.testing import Recorder, Recording, Replayer
from pollux_sync.testing.server import Answer, Events, ScriptedServer
from streams import remove_times

KEY = "sk-very-secret-key"
AT_ONCE = RetryPolicy(initial_delay_s=0, jitter=False)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recordings" / "talk.json"


@pytest.fixture
def record(server, path):
    """A function that asks the server through a recorder, and writes the recording."""

    def record(ask):
        recorder = Recorder(Recording(path))
        where = {"provider": "local", "model": "m", "base_url": f"{server.url}/v1", "api_key": KEY, "retry": AT_ONCE}
        try:
            return ask(recorder.build_config(**where))
        finally:
            recorder.recording.save()

    return record


@pytest.fixture
def replay(path):
    """A function that asks nobody, through a replayer."""

    def replay(ask, **fields):
        where = {"provider": "local", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
        return ask(Replayer(Recording.load(path)).build_config(**where, **fields))

    return replay


@pytest.mark.usefixtures("no_network")
def test_replays_nothing_without_a_request(path):
    path.parent.mkdir()
    path.write_text('{"format": 1, "exchanges": []}')
    with pytest.raises(ConfigurationError, match=r"talk\.json has no answer to POST /chat/completions: it is empty"):
        run("hi", config=Replayer(Recording.load(path)).build_config(provider="openrouter", model="m"))


def test_replays_the_answers_of_many_prompts(server, record, replay):
    server.handler = lambda request: Answer(json=completion(f"re: {request.json()['messages'][0]['content']}"))

    def ask(config):
        return remove_times(run_many(["one", "two", "one"], config=config))

    assert record(ask) == replay(ask)
    assert len(server.requests) == 3


@pytest.mark.parametrize("name", ["text", "reasoning", "tool call"])
def test_replays_a_stream(server, record, replay, name):
    server.reply(Events([TRANSCRIPTS[name][1]]))

    def ask(config):
        options = Options(tools=[{"name": "add"}], on_error="keep")
        events = list(stream("hi", config=config, options=options))
        return events[:-1], remove_times(events[-1].result)

    assert record(ask) == replay(ask)


def test_replays_a_stream_that_nobody_asked_for(server, record, replay):
    server.reply(Events([TRANSCRIPTS["text"][1]]))

    def ask(config):
        return remove_times(run("hi", config=config))

    assert record(ask) == replay(ask)


def test_replays_an_answer_at_once_in_place_of_a_stream(server, record, replay):
    server.reply(Answer(json=completion("hello")))

    def ask(config):
        return remove_times(stream("hi", config=config).result())

    assert record(ask) == replay(ask)


def test_replays_a_refusal_and_its_retry(server, record, replay):
    slow = Answer(status=429, json={"error": {"message": "slow"}}, headers={"Retry-After": "0"})
    server.reply(slow, Answer(json=completion("hello")), Answer(status=400, json={"error": {"message": "no"}}))

    def ask(config):
        first = remove_times(run("hi", config=config))
        with pytest.raises(APIError, match="no") as caught:
            run("hi", config=config)
        return first, caught.value.kind, caught.value.status_code

    assert record(ask) == replay(ask)


def test_keeps_neither_keys_nor_headers_nor_cookies(server, record, path, monkeypatch):
    monkeypatch.setenv("A_VARIABLE", "of-the-environment")
    headers = {"Set-Cookie": "session=abc", "Openai-Organization": "org-1"}
    server.reply(Answer(status=400, json={"error": {"message": f"bad key {KEY}"}}, headers=headers))
    server.reply(Events([TRANSCRIPTS["text"][1].replace("世界".encode("unicode-escape"), KEY.encode())]))
    options = Options(provider_headers={"local": {"X-Token": "tok-very-secret"}})

    def ask(config):
        with pytest.raises(APIError):
            run(f"is {KEY} a key?", config=config, options=options)
        stream("tok-very-secret", config=config, options=options).result()

    record(ask)
    text = path.read_text()
    secrets = (KEY, "tok-very-secret", "session", "org-1", "authorization", "x-token", "of-the-environment")
    assert [secret for secret in secrets if secret in text.lower()] == []
    assert len(json.loads(text)["exchanges"]) == 2


def test_replays_half_a_character(server, record, replay):
    chunks = [{"choices": [{"index": 0, "delta": {"content": half}}]} for half in ("\ud83d", "\ude00")]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [*(json.dumps(chunk) for chunk in (*chunks, end)), "[DONE]"]
    server.reply(Events([f"data: {event}\n\n".encode() for event in events]))

    def ask(config):
        return stream("hi", config=config).result()["answers"]

    assert record(ask) == replay(ask) == ["\U0001f600"]


def test_keeps_no_stream_that_broke_off(server, record, path):
    server.reply(Events([b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'], ending="reset"))
    with pytest.raises(APIError):
        record(lambda config: stream("hi", config=config).result())
    assert not path.exists()


def test_shows_how_a_new_request_differs_from_the_nearest(server, record, replay):
    server.handler = lambda _: Answer(json=completion("hello"))
    record(lambda config: [run(prompt, config=config, options=Options(seed=7)) for prompt in ("hi", "bye")])
    with pytest.raises(ConfigurationError) as caught:
        replay(lambda config: run("by", config=config, options=Options(seed=7)))
    assert str(caught.value).endswith(
        "request 1 of 2 differs least:\n"
        '  body.messages[0].content: recorded "hi", now "by"\n'
        "  hint: delete the file, and record it again: pytest --pollux-record"
    )


def test_answers_each_request_as_often_as_it_was_recorded(server, record, replay):
    server.handler = lambda _: Answer(json=completion("hello"))
    record(lambda config: run("hi", config=config))
    with pytest.raises(ConfigurationError, match="the same request was recorded 1 times, and is sent once more"):
        replay(lambda config: [run("hi", config=config) for _ in range(2)])


def test_keeps_large_files_as_their_hash(server, record, replay, path, tmp_path):
    (tmp_path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40_000))
    server.handler = lambda _: Answer(json=completion("hello"))

    def ask(config):
        return run("hi", source=Source.from_file(tmp_path / "big.png"), config=config)["answers"]

    assert record(ask) == replay(ask)
    assert path.stat().st_size < 5_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "exchanges": [1]}', '{"format": 2, "exchanges": []}'])
def test_refuses_a_file_that_is_no_recording(path, text):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"talk\.json is (not )?a recording") as caught:
        Recording.load(path)
    assert caught.value.hint.startswith("delete the file")


@pytest.mark.usefixtures("no_network")
def test_replays_nothing_but_calls(path, tmp_path):
    path.parent.mkdir()
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 a")
    path.write_text('{"format": 1, "exchanges": []}')
    config = Replayer(Recording.load(path)).build_config(provider="openai", model="m", uploads="always")
    with pytest.raises(ConfigurationError, match=r"talk\.json replays answers to calls; it holds no uploads"):
        run("hi", source=Source.from_file(tmp_path / "a.pdf"), config=config)


def test_needs_no_key(path):
    path.parent.mkdir()
    path.write_text('{"format": 1, "exchanges": []}')
    assert isinstance(Replayer(Recording.load(path)).build_config(provider="anthropic", model="m"), Config)
