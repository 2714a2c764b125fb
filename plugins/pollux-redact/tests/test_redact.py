"""What leaves the process, and what comes back."""

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_redact import Redact
from pollux_redact.restoring import restore_stream
from pollux_sync import (
    Citation,
    Config,
    ConfigurationError,
    Options,
    ReasoningDelta,
    Reply,
    Source,
    StreamToolCall,
    StreamUsage,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    collect_deferred,
    create_cache,
    defer_many,
    explain,
    hookimpl,
    run,
    run_many,
    run_tools,
    stream,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.testing import Script

LONG_MAIL = "ada.morrow.of.the.lighthouse@lamp.example"
MAIL, PHONE, CARD = "ada@lamp.example", "+49 30 901820", "4111 1111 1111 1111"


class CachedCalls:
    """Keeps the calls whose content a provider is asked to cache."""

    def __init__(self):
        self.calls = []

    @hookimpl(wrapper=True)
    def pollux_create_cache(self, call):
        self.calls.append(call)
        return (yield)


def build_config(redact, *answers, **fields):
    plugins = [Script(*answers, otherwise=repeat), redact]
    return Config(**({"provider": "openai", "model": "m", "use_mock": True, "plugins": plugins} | fields))


def read_texts(body):
    return re.findall(r"\[[A-Z]+_[0-9A-F]{8}\]", json.dumps(body))


def repeat(body):
    """Answer with the placeholders of the request, in its order."""
    return " and ".join(read_texts(body)) or "nothing"


@pytest.fixture
def redact():
    return Redact()


def list_sent(config):
    return json.dumps(config.plugins[0].requests)


@pytest.mark.parametrize("ask", [run, lambda prompt, config: stream(prompt, config=config).result()])
def test_data_is_not_sent_and_is_back_in_the_answer(redact, ask):
    config = build_config(redact)
    result = ask(f"Who has {MAIL}, {PHONE} and {CARD}?", config=config)
    assert result["answers"] == [f"{MAIL} and {PHONE} and {CARD}"]
    for value in (MAIL, PHONE, CARD):
        assert value not in list_sent(config)


def test_text_without_data_is_sent_as_it_is(redact):
    config = build_config(redact)
    run("Who?", config=config)
    assert "Who?" in list_sent(config)


def test_equal_values_have_equal_placeholders(redact):
    first, second, third = read_texts(redact.redact(f"{MAIL} {PHONE} {MAIL}"))
    assert first == third != second


def test_sources_instructions_and_history_are_redacted(redact):
    config = build_config(redact, "fine")
    history = [
        {"role": "user", "content": f"I am {MAIL}."},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "name": "call", "arguments": f'{{"n":"{PHONE}"}}'}],
        },
        {"role": "tool", "tool_call_id": "1", "content": f"{CARD} was charged"},
    ]
    options = Options(system_instruction=f"You serve {MAIL}.", history=history)
    run("And?", source=Source.from_text(f"Letter of {PHONE}"), config=config, options=options)
    sent = list_sent(config)
    for value in (MAIL, PHONE, CARD):
        assert value not in sent
    assert sent.count(redact.redact(PHONE)) == 2


def test_name_of_a_file_is_redacted(tmp_path):
    class Seen:
        calls = []

        @hookimpl(wrapper=True)
        def pollux_call(self, call):
            self.calls.append(call)
            return (yield)

    file = tmp_path / "Ada Morrow.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    plugins = [Script("one"), Seen(), Redact(names=["Ada Morrow"])]
    config = Config(provider="openai", model="m", use_mock=True, plugins=plugins)
    result = run("Who is it?", source=Source.from_file(file), config=config)
    (part,) = Seen.calls.pop().parts
    assert part.source.identifier.startswith(str(tmp_path / "[NAME_"))
    assert part.source.content_loader() == file.read_bytes()
    assert result["answers"] == ["one"]


def test_texts_before_which_an_answer_ends_are_redacted(redact):
    config = build_config(redact, "fine")
    run(f"Who is {MAIL}?", config=config, options=Options(stop=[MAIL, "END"]))
    (body,) = config.plugins[0].requests
    assert body["stop"] == [*read_texts(body["prompt"]), "END"]


def test_address_of_a_file_stays_what_it_is(tmp_path):
    redact = Redact(names=["Ada Morrow"])
    source = Source.from_uri("https://lamp.example/Ada%20Morrow/Ada Morrow.png", mime_type="image/png")
    plan = explain("Who?", sources=[source], config=build_config(redact))
    assert "Ada Morrow.png" in json.dumps(plan.to_dict(), default=str)


def test_conversation_continues_with_the_real_values(redact, server):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[redact])
    first = run(f"I am {MAIL}.", config=config, options=Options(history=[]))
    run("Who am I?", config=config, options=Options(continue_from=first))
    assert MAIL in json.dumps(first["_conversation_state"])
    assert MAIL.encode() not in b"".join(request.body for request in server.requests)
    messages = server.requests[1].json()["messages"]
    assert messages[1]["content"] == f"echo: {messages[0]['content']}"


def test_tools_get_the_real_values_and_their_results_are_redacted(redact):
    seen = []

    def look_up(mail: str) -> str:
        """Look up a customer."""
        seen.append(mail)
        return f"her number is {PHONE}"

    def call(body):
        (placeholder,) = read_texts(body)
        arguments = json.dumps({"mail": placeholder})
        return Reply(tool_calls=(ToolCall("1", "look_up", arguments),), finish_reason="tool_calls")

    config = build_config(redact, call)
    result = run_tools(f"Call {MAIL}.", tools=[look_up], config=config)
    assert seen == [MAIL]
    assert PHONE in result["answers"][0]
    assert MAIL not in list_sent(config)
    assert PHONE not in list_sent(config)


def test_values_are_escaped_in_the_arguments_of_tools():
    redact = Redact(patterns={"quote": r'"[^"]+"\n'})
    value = '"white whale"\n'
    call = ToolCall("1", "look", json.dumps({"name": redact.redact(value)}))
    config = build_config(redact, Reply(tool_calls=(call,), finish_reason="tool_calls"))
    assert run("Who?", config=config)["tool_calls"][0][0]["arguments_parsed"] == {"name": value}


@attrs.frozen
class Contact:
    mail: str


def test_number_in_the_arguments_of_a_tool_leaves_them_json(redact):
    arguments = f'{{"card": {CARD.replace(" ", "")}, "n": 1.50, "text": "Dear\\n{MAIL}"}}'
    called = Reply(tool_calls=(ToolCall("1", "pay", arguments),), finish_reason="tool_calls")
    config = build_config(redact, called, "done")
    run_tools("Pay.", tools=[pay], config=config)
    _, turn, _ = config.plugins[0].requests[1]["history"]
    sent = json.loads(turn["tool_calls"][0]["arguments"])
    assert re.fullmatch(r"\[CARD_[0-9A-F]{8}\]", sent["card"])
    assert re.fullmatch(r"Dear\n\[EMAIL_[0-9A-F]{8}\]", sent["text"])
    assert '"n": 1.50' in turn["tool_calls"][0]["arguments"]


def pay(card: int, n: float, text: str) -> str:
    """Pay."""
    return "paid"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"who": "Zo\u00eb M\u00fcller"}),
        json.dumps([{"text": "Dear\nZo\u00eb M\u00fcller"}]),
        json.dumps({"who": "Zo\u00eb\nM\u00fcller"}),
    ],
)
def test_names_behind_the_escapes_of_json_are_found(text):
    redacted = Redact(names=["Zo\u00eb M\u00fcller"]).redact(text)
    assert "[NAME_" in redacted
    assert "ller" not in redacted
    json.loads(redacted)


def test_json_without_data_stays_as_it_was_written(redact):
    text = '{ "a" : "Zo\\u00eb", "b":1.50}'
    assert redact.redact(text) == text


@pytest.mark.parametrize("text", ['"\\"' * 50_000, '"' * 100_000, "1" * 100_000, '{"a": "' + "b" * 100_000])
def test_arguments_that_were_cut_off_take_no_time(redact, text):
    assert redact._redact_json(text) == text


def test_typed_answers_hold_the_real_values(redact):
    config = build_config(redact, lambda body: {"mail": read_texts(body)[0]})
    result = run(f"Mail of {MAIL}?", config=config, options=Options(response_schema=Contact))
    assert result["structured"] == [Contact(MAIL)]


def test_reasoning_and_citations_hold_the_real_values(redact):
    # Longer than its placeholder, so that what is behind it moves.
    placeholder = redact.redact(LONG_MAIL)
    text = f"{placeholder}: see {placeholder} there."
    citation = Citation(
        text=f"of {placeholder}", start=len(f"{placeholder}: see "), end=len(f"{placeholder}: see {placeholder}")
    )
    reply = Reply(text=text, reasoning=f"{placeholder}?", citations=(citation,), finish_reason="stop")
    result = run("Who?", config=build_config(redact, reply))
    assert result["reasoning"] == [f"{LONG_MAIL}?"]
    (found,) = result["citations"][0]
    assert found["text"] == f"of {LONG_MAIL}"
    assert result["answers"][0][found["start"] : found["end"]] == LONG_MAIL


def test_placeholder_that_nobody_has_made_stays(redact):
    config = build_config(redact, "[EMAIL_0123ABCD] and [x")
    assert run("Who?", config=config)["answers"] == ["[EMAIL_0123ABCD] and [x"]


def test_custom_patterns_come_first():
    redact = Redact(patterns={"customer": r"K-\d{6}"})
    sent = redact.redact(f"K-123456 has {MAIL}")
    assert re.fullmatch(r"\[CUSTOMER_[0-9A-F]{8}\] has \[EMAIL_[0-9A-F]{8}\]", sent)
    assert redact.restore(sent) == f"K-123456 has {MAIL}"


def test_names_are_not_sent_and_are_back_in_the_answer():
    config = build_config(Redact(names=["Ada Morrow"]))
    assert run("Who is Ada Morrow?", config=config)["answers"] == ["Ada Morrow"]
    assert "Morrow" not in list_sent(config)


def test_only_chosen_kinds_are_replaced():
    assert PHONE in Redact(["email"]).redact(f"{MAIL} {PHONE}")


def test_explain_shows_what_would_be_sent(redact):
    config = Config(provider="openai", model="m", api_key="k", plugins=[redact])
    shown = json.dumps(explain(f"Who is {MAIL}?", config=config).to_dict())
    assert redact.redact(MAIL) in shown


def test_content_of_a_providers_cache_is_redacted(redact):
    cached = CachedCalls()
    config = Config(provider="gemini", model="m", use_mock=True, plugins=[cached, redact])
    create_cache([Source.from_text(f"Letter of {MAIL}")], config=config, ttl_seconds=60)
    assert [part.text for part in cached.calls[0].parts] == [f"Letter of {redact.redact(MAIL)}"]


# Streams


def cut(text, sizes):
    """Cut a text into pieces of these sizes; the last piece is the rest."""
    for size in sizes:
        yield text[:size]
        text = text[size:]
    yield text


PLACEHOLDERS = {"[EMAIL_0123ABCD]": MAIL, "[PHONE_00000000]": PHONE, "[A_FFFFFFFF]": 'a "quote"'}


def restore(text):
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def restore_json(text):
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, json.dumps(value)[1:-1])
    return text


texts = st.lists(st.sampled_from([*PLACEHOLDERS, "[", "[EMAIL", "[EMAIL_", "]", "a", " ", "_0"]), max_size=8).map(
    "".join
)


@given(text=texts, sizes=st.lists(st.integers(0, 9), max_size=8))
def test_text_is_restored_wherever_it_is_cut(text, sizes):
    items = [*map(TextDelta, cut(text, sizes)), Reply(text=text)]
    *deltas, reply = restore_stream(iter(items), restore, restore_json, is_json=False)
    assert "".join(delta.text for delta in deltas) == reply.text == restore(text)


@given(text=texts, sizes=st.lists(st.integers(0, 9), max_size=8))
def test_arguments_of_tools_are_restored_wherever_they_are_cut(text, sizes):
    pieces = list(cut(text, sizes))
    first = ToolCallDelta(0, pieces[0], id="1", name="look")
    items = [first, *(ToolCallDelta(0, piece) for piece in pieces[1:]), ToolCallDelta(1, "{}", id="2", name="other")]
    reply = Reply(tool_calls=(ToolCall("1", "look", text), ToolCall("2", "other", "{}")))
    *deltas, end = restore_stream(iter([*items, reply]), restore, restore_json, is_json=False)
    assert "".join(delta.arguments for delta in deltas if delta.index == 0) == end.tool_calls[0].arguments
    assert end.tool_calls[0].arguments == restore_json(text)
    assert [(delta.id, delta.name) for delta in deltas if delta.id] == [("1", "look"), ("2", "other")]


@given(text=texts, sizes=st.lists(st.integers(0, 9), max_size=8))
def test_usage_between_two_pieces_changes_nothing(text, sizes):
    items = [item for piece in cut(text, sizes) for item in (TextDelta(piece), StreamUsage(Usage(output_tokens=1)))]
    *deltas, reply = restore_stream(iter([*items, Reply(text=text)]), restore, restore_json, is_json=False)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == reply.text
    assert deltas.count(items[1]) == len(items) // 2


@given(text=texts, sizes=st.lists(st.integers(0, 9), max_size=8))
def test_arguments_of_tools_that_take_turns_are_restored(text, sizes):
    items = [ToolCallDelta(index, piece) for piece in cut(text, sizes) for index in (0, 1)]
    *deltas, _ = restore_stream(iter([*items, Reply()]), restore, restore_json, is_json=False)
    for index in (0, 1):
        joined = "".join(delta.arguments for delta in deltas if delta.index == index)
        assert joined == restore_json(text)


def test_text_that_ends_in_a_bracket_comes_before_what_follows_it():
    items = [TextDelta("see ["), ReasoningDelta("hm ["), ToolCallDelta(0, "{}"), Reply(text="see [")]
    *deltas, _ = restore_stream(iter(items), restore, restore_json, is_json=False)
    kinds = [type(delta) for delta in deltas]
    assert kinds == sorted(kinds, key=[TextDelta, ReasoningDelta, ToolCallDelta].index)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "see ["


def test_stream_of_a_real_server_is_restored(redact, server):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[redact])
    events = list(stream(f"Who is {MAIL}?", config=config))
    # The server cuts its answer into pieces of three characters.
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == f"echo: Who is {MAIL}?"
    assert MAIL.encode() not in server.requests[0].body


def test_tool_call_of_a_stream_is_restored(redact):
    placeholder = redact.redact(MAIL)
    called = Reply(tool_calls=(ToolCall("1", "look", f'{{"a": "{placeholder}"}}'),), finish_reason="tool_calls")
    events = list(stream("Who?", config=build_config(redact, called)))
    (whole,) = [event.call for event in events if isinstance(event, StreamToolCall)]
    assert whole.arguments_dict() == {"a": MAIL}


def test_text_is_not_held_back_without_need(redact, server):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[redact])
    events = [event.text for event in stream("Who?", config=config) if isinstance(event, TextDelta)]
    assert events == ["ech", "o: ", "Who", "?"]


# The file


def test_job_needs_a_file(redact):
    script = Script()
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script, redact])
    with pytest.raises(ConfigurationError, match="deferred answers can be restored only from a file"):
        defer_many([f"Who is {MAIL}?"], config=config)


def test_answers_of_a_job_are_restored(tmp_path):
    redact = Redact(path=tmp_path / "vault.sqlite")
    config = build_config(redact)
    handle = defer_many([f"Who is {MAIL}?"], config=config)
    assert collect_deferred(handle, config=config)["answers"] == [MAIL]
    assert MAIL not in list_sent(config)
    redact.close()


def test_objects_with_one_path_share_placeholders(tmp_path):
    first, second = Redact(path=tmp_path / "vault.sqlite"), Redact(path=tmp_path / "vault.sqlite")
    placeholder = first.redact(MAIL)
    assert second.restore(placeholder) == MAIL
    assert second.redact(MAIL) == placeholder != Redact().redact(MAIL)
    first.close()
    second.close()


def test_file_that_fails_keeps_the_call_from_being_sent(tmp_path):
    redact = Redact(path=tmp_path / "vault.sqlite")
    config = build_config(redact)
    run(f"Who is {PHONE}?", config=config)
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        database.execute("DROP TABLE placeholders")
    database.close()
    with pytest.raises(ConfigurationError, match=r"the vault .*vault.sqlite of pollux-redact cannot be used"):
        run(f"Who is {MAIL}?", config=config)
    assert len(config.plugins[0].requests) == 1
    redact.close()


def test_threads_share_the_placeholders(tmp_path):
    redact = Redact(path=tmp_path / "vault.sqlite")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(redact.redact, [f"a{number % 5}@b.example" for number in range(40)]))
    assert len(set(found)) == 5
    result = run_many(
        [f"a{number}@b.example" for number in range(20)], config=build_config(redact, request_concurrency=6)
    )
    assert result["answers"] == [f"a{number}@b.example" for number in range(20)]
    redact.close()


def test_placeholder_that_another_value_has_is_not_used_again(tmp_path):
    first, second = Redact(path=tmp_path / "vault.sqlite"), Redact(path=tmp_path / "vault.sqlite")
    placeholder = first.redact(MAIL)
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        database.execute("UPDATE placeholders SET value = 'someone@else.example'")
    database.close()
    other = second.redact(MAIL)
    assert other != placeholder
    assert (second.restore(other), second.restore(placeholder)) == (MAIL, "someone@else.example")
    first.close()
    second.close()


def test_without_a_path_no_file_is_written(tmp_path, monkeypatch, redact):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    run(f"Who is {MAIL}?", config=build_config(redact))
    assert list(tmp_path.rglob("*")) == []


# Place and settings


def test_must_be_the_last_of_the_plugins(redact):
    script = Script("fine")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[redact, script])
    with pytest.raises(ConfigurationError, match="must be the last of the plugins"):
        run(f"Who is {MAIL}?", config=config)
    assert script.requests == []


@pytest.mark.parametrize("name", ["redact", "pollux-redact:redact"])
def test_is_enabled_by_its_name(name):
    script = Script("fine")
    run(f"Who is {MAIL}?", config=Config(provider="openai", model="m", use_mock=True, plugins=[script, name]))
    assert MAIL not in json.dumps(script.requests)
    assert isinstance(load(MIDDLEWARE, name).plugin, Redact)


def test_environment_has_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("POLLUX_REDACT_KINDS", "phone, email")
    monkeypatch.setenv("POLLUX_REDACT_NAMES", "Ada Morrow, Verran")
    monkeypatch.setenv("POLLUX_REDACT_PATH", str(tmp_path / "vault.sqlite"))
    redact = Redact()
    redacted = redact.redact(f"{CARD} {MAIL} Ada Morrow of Verran")
    assert CARD in redacted
    assert re.findall(r"\[([A-Z]+)_", redacted) == ["EMAIL", "NAME", "NAME"]
    assert (tmp_path / "vault.sqlite").exists()
    redact.close()


def test_kind_that_does_not_exist_is_refused():
    with pytest.raises(ConfigurationError, match="'names' is not a kind of data"):
        Redact(["email", "names"])
