import io
import json
import re
import signal
import subprocess
import sys
import threading
import types
from argparse import SUPPRESS
from pathlib import Path

import attrs
import pytest

from acme_server import FileServer, build_answer
from installing import install
from pollux_sync import Config, Options, Reply, RetryPolicy, ToolCall, hookimpl, run_many
from pollux_sync.cli.asking import build_run_parser
from pollux_sync.cli.fields import read_schema
from pollux_sync.cli.progress import Progress, build_progress
from pollux_sync.cli.sources import parse_source
from pollux_sync.testing import BrokenOff, Script, failing
from pollux_sync.testing.server import Answer, Events, Hang

# prompts


def test_answer_is_printed(cli):
    done = cli("run", "--mock", "Who built it?")
    assert (done.code, done.out, done.err) == (0, "echo: Who built it?\n", "")


def test_answers_to_several_prompts_are_printed_below_their_number_and_title(cli):
    out = cli("run", "--mock", "Who?", "What\n is it?").out
    assert out == "--- 1/2: Who? ---\necho: Who?\n--- 2/2: What is it? ---\necho: What\n is it?\n"


def test_long_title_is_cut(cli):
    out = cli("run", "--mock", "word " * 40, "b").out
    assert f"--- 1/2: {('word ' * 40)[:57]}... ---\n" in out


def test_prompts_may_stand_among_the_options(cli):
    out = cli("run", "a", "--mock", "b").out
    assert out == "--- 1/2: a ---\necho: a\n--- 2/2: b ---\necho: b\n"


def test_words_after_two_dashes_are_prompts(cli):
    assert cli("run", "--mock", "--", "--who").out == "echo: --who\n"


def test_piped_text_is_the_prompt_when_there_is_none(cli):
    assert cli("run", "--mock", stdin="Who?\n").out == "echo: Who?\n"


def test_dash_reads_a_prompt_from_standard_input(cli):
    assert "2/2: Who? ---\necho: Who?\n" in cli("run", "--mock", "a", "-", stdin="Who?\n").out


def test_piped_text_beside_a_prompt_is_a_source(cli):
    assert cli("run", "--mock", "Who?", stdin="Call me Ishmael.\n").out == "echo: Call me Ishmael.\n"


def test_piped_text_beside_a_prompt_comes_after_other_sources(folder, cli, at_server, server):
    (folder / "a.txt").write_text("first")
    server.reply(build_answer())
    cli("run", *at_server, "Who?", "-s", "a.txt", stdin="second")
    first, second = (part["text"] for part in server.requests[0].json()["parts"])
    assert ("first" in first, "second" in second) == (True, True)


def test_piped_text_beside_a_file_of_prompts_is_a_source(folder, cli):
    (folder / "questions.txt").write_text("Who?\n")
    assert cli("run", "--mock", "--prompts", "questions.txt", stdin="Ishmael").out == "echo: Ishmael\n"


@pytest.mark.parametrize("stdin", [None, "", " \n"])
def test_nothing_that_is_piped_adds_no_source(cli, stdin):
    assert cli("run", "--mock", "Who?", stdin=stdin).out == "echo: Who?\n"


def test_piped_text_can_be_the_source(cli):
    assert cli("run", "--mock", "a", "-s", "-", stdin="Call me Ishmael.\n").out == "echo: Call me Ishmael.\n"


def test_source_without_a_prompt_is_sent_alone(cli):
    assert cli("run", "--mock", "-s", "-", stdin="Call me Ishmael.").out == "echo: Call me Ishmael.\n"


@pytest.mark.parametrize("stdin", [None, "", " \n"])
def test_missing_prompt_is_refused(cli, stdin):
    done = cli("run", "--mock", stdin=stdin)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: there is no prompt\n  hint: ")


def test_standard_input_cannot_be_read_twice(cli):
    done = cli("run", "--mock", "-", "-s", "-", stdin="text")
    assert done.code == 2
    assert "standard input can be read only once" in done.err


def test_blank_prompt_is_refused(cli):
    done = cli("run", "--mock", "-", stdin="\n")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: prompt is blank")


def test_text_comes_through_a_pipe(start):
    process = start("run", "--mock", "-s", "-", "a", stdin=subprocess.PIPE)
    out, _ = process.communicate("Call me Ishmael.")
    assert (process.returncode, out) == (0, "echo: Call me Ishmael.\n")


def test_piped_bytes_that_are_not_text_are_refused(start, tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "bytes").open("rb") as stdin:
        process = start("run", "--mock", stdin=stdin, env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8:strict"})
        err = process.stderr.read()
    assert process.wait() == 2
    assert err.startswith("error: standard input is not text in UTF-8")


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_piped_text_in_another_encoding_is_refused_with_what_to_do(start, tmp_path, locale):
    (tmp_path / "bytes").write_bytes("Grüße".encode("latin1"))
    with (tmp_path / "bytes").open("rb") as stdin:
        process = start("run", "--mock", "Who?", stdin=stdin, env=locale)
        err = process.stderr.read()
    assert process.wait() == 2
    assert err.startswith("error: standard input is not text in UTF-8")
    assert "iconv -f latin1 -t utf-8" in err


def test_mark_at_the_start_of_piped_text_is_no_part_of_it(start, tmp_path):
    (tmp_path / "marked").write_bytes("\ufeffGrüße".encode())
    with (tmp_path / "marked").open("rb") as stdin:
        process = start("run", "--mock", stdin=stdin, env={"PYTHONIOENCODING": "utf-8"})
        assert process.stdout.read() == "echo: Grüße\n"


# sources


@pytest.mark.parametrize(
    ("word", "kind", "identifier", "mime_type"),
    [
        ("arxiv:1706.03762", "arxiv", "https://arxiv.org/pdf/1706.03762.pdf", "application/pdf"),
        ("https://arxiv.org/abs/1706.03762", "arxiv", "https://arxiv.org/pdf/1706.03762.pdf", "application/pdf"),
        ("https://youtu.be/abc", "youtube", "https://youtu.be/abc", "video/mp4"),
        ("https://example.org/a.png?x=1", "uri", "https://example.org/a.png?x=1", "image/png"),
        ("https://example.org", "uri", "https://example.org", "application/octet-stream"),
        ("gs://bucket/a.pdf", "uri", "gs://bucket/a.pdf", "application/pdf"),
        ("stored:image/png:file-abc123", "stored", "file-abc123", "image/png"),
        ("stored:application/pdf:https://host/files/1", "stored", "https://host/files/1", "application/pdf"),
    ],
)
def test_parses_a_remote_source(word, kind, identifier, mime_type):
    source = parse_source(word)
    assert (source.source_type, source.identifier, source.mime_type) == (kind, identifier, mime_type)


def test_parses_a_local_file(folder):
    (folder / "notes.md").write_text("text")
    source = parse_source("notes.md")
    assert (source.source_type, source.identifier) == ("file", "notes.md")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (".", "error: . is a directory\n  hint: name its files one by one: -s FILE -s ..."),
        ("missing.md", "error: file not found: missing.md"),
        ("https://arxiv.org/list/cs", "error: not an arXiv abs/ or pdf/ URL"),
        ("arxiv:nonsense", "error: not an arXiv id: 'nonsense'"),
        ("stored:file-abc123", "error: stored:file-abc123 does not name a type and an id\n  hint: write it as stored:"),
        ("stored:image/png:", "error: stored:image/png: does not name a type and an id"),
        ("https://[::1", "error: not a URL: 'https://[::1'"),
        ("https://", "error: not a URI: 'https://'"),
    ],
)
def test_bad_source_is_refused(cli, word, message):
    done = cli("run", "--mock", "a", "-s", word)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message)


@pytest.fixture
def notes(folder):
    """Two files, and one whose name could be a value of an option."""
    for name in ("a.md", "b.md", "5"):
        (folder / name).write_text(f"text of {name}")


@pytest.mark.parametrize(
    "words",
    [
        ("-s", "a.md", "b.md", "Who?"),
        ("Who?", "-s", "a.md", "b.md"),
        ("-s", "a.md", "Who?", "b.md"),
        ("--source", "a.md", "b.md", "Who?"),
        ("--source=a.md", "b.md", "Who?"),
        ("-sa.md", "b.md", "Who?"),
        ("-s", "a.md", "--concurrency", "5", "b.md", "Who?"),
        ("-s", "a.md", "--stream-timeout", "5", "b.md", "--", "Who?"),
    ],
)
@pytest.mark.usefixtures("notes")
def test_takes_every_file_that_the_shell_puts_after_s(cli, at_server, server, words):
    server.reply(build_answer())
    done = cli("run", *at_server, *words)
    assert (done.code, done.err) == (0, "")
    body = server.requests[0].json()
    assert (body["prompt"], [part["text"].splitlines()[1] for part in body["parts"]]) == (
        "Who?",
        ["text of a.md", "text of b.md"],
    )


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("words", [("a.md",), ("--stream-timeout", "5", "a.md"), ("-s", "b.md", "--", "a.md")])
def test_a_files_name_is_a_prompt_where_no_source_goes_before(cli, at_server, server, words):
    server.reply(build_answer())
    cli("run", *at_server, *words)
    assert server.requests[0].json()["prompt"] == "a.md"


def test_each_prompt_is_asked_about_each_source(folder, cli):
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"text of {name}")
    out = cli("run", "--mock", "Who?", "-s", "a.txt", "-s", "b.txt", "--per-source").out
    assert out.splitlines() == [
        "--- 1/2: Who? (a.txt) ---",
        "echo: text of a.txt",
        "--- 2/2: Who? (b.txt) ---",
        "echo: text of b.txt",
    ]


# model and settings


def test_prompts_go_to_the_provider_and_model_that_are_named(cli, at_server, server):
    server.reply(build_answer("fine"))
    done = cli("run", *at_server, "Who?")
    assert (done.code, done.out) == (0, "fine\n")
    assert server.requests[0].json() == {"model": "m", "prompt": "Who?", "parts": []}
    assert server.requests[0].headers["Authorization"] == "Bearer sk-secret"


def test_provider_and_model_are_taken_from_the_environment(acme, server, cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "acme")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "m2")
    server.reply(build_answer())
    cli("run", "Who?", "--base-url", server.url)
    assert server.requests[0].json()["model"] == "m2"


def test_missing_provider_is_refused_with_those_installed(acme, cli):
    done = cli("run", "Who?")
    assert done.code == 2
    assert "error: no provider is named\n  hint: pass -p NAME or set POLLUX_SYNC_PROVIDER; installed: acme," in done.err


def test_missing_model_is_refused(acme, cli):
    done = cli("run", "Who?", "-p", "acme")
    assert done.code == 2
    assert "error: no model is named\n  hint: pass -m MODEL" in done.err


@pytest.mark.parametrize("words", [("--api-key", "sk-1234"), ("--api-key=sk-1234",), ("--api-key",)])
def test_key_is_refused_as_an_argument_and_not_repeated(cli, words):
    done = cli("run", "--mock", "Who?", *words)
    assert done.code == 2
    assert done.err.startswith("error: an API key cannot be an argument")
    assert "sk-1234" not in done.err


def test_header_is_refused_as_an_argument_and_not_repeated(cli):
    done = cli("run", "--mock", "Who?", "--header", "X-Token=sk-1234")
    assert done.code == 2
    assert done.err.startswith("error: a header cannot be an argument")
    assert "sk-1234" not in done.err


@pytest.mark.parametrize("proxy", ["http://ada:sk-1234@proxy:3128", "ada:sk-1234@proxy:3128"])
def test_password_of_a_proxy_is_refused_as_an_argument_and_not_repeated(cli, proxy):
    done = cli("run", "--mock", "Who?", "--proxy", proxy)
    assert done.code == 2
    assert "argument --proxy: a password cannot be an argument; set HTTPS_PROXY instead" in done.err
    assert "sk-1234" not in done.err


def test_request_goes_through_the_proxy(cli, acme, server):
    server.reply(build_answer("by way of the proxy"))
    where = ("-p", "acme", "-m", "m", "--base-url", "http://acme.example", "--proxy", server.url)
    assert cli("run", *where, "Who?").out == "by way of the proxy\n"
    assert [request.path for request in server.requests] == ["http://acme.example/ask"]


def test_certificates_that_cannot_be_read_are_refused(cli, acme):
    where = ("-p", "acme", "-m", "m", "--base-url", "https://acme.example", "--ca-bundle", "missing.pem")
    err = cli("run", *where, "Who?").err
    assert "Config(ca_bundle) names the certificates 'missing.pem', which cannot be read" in err


@pytest.mark.parametrize(("uploads", "is_uploaded"), [("always", True), ("never", False)])
def test_uploads_are_decided(cli, at_server, server, folder, uploads, is_uploaded):
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff")
    server.handler = FileServer()
    assert cli("run", *at_server, "Who?", "-s", "a.jpg", "--uploads", uploads).code == 0
    assert any(request.path == "/files" for request in server.requests) == is_uploaded


def test_settings_reach_the_model(cli):
    words = ("--system", "Be brief.", "--temperature", "0", "--top-p", "0.5", "--max-tokens", "5")
    done = cli("run", "--mock", "Who?", *words, "--reasoning-effort", "low", "--json")
    assert json.loads(done.out)["reasoning"] == ["mock reasoning about: Who?"]


def test_stops_and_a_seed_reach_the_model(cli):
    done = cli("run", "--mock", "Who?", "--stop", "END", "--stop", ".", "--seed", "7", "--explain", "--json")
    (request,) = json.loads(done.out)["requests"]
    assert (request["body"]["stop"], request["body"]["seed"]) == (["END", "."], 7)


def test_what_is_shown_of_the_thoughts_reaches_the_model(cli):
    words = ("--reasoning-effort", "low", "--reasoning-summary", "none")
    assert "reasoning" not in json.loads(cli("run", "--mock", "Who?", *words, "--json").out)


def test_the_tier_reaches_the_model(cli):
    done = cli("run", "--mock", "Who?", "--service-tier", "flex", "--json")
    assert json.loads(done.out)["metrics"]["service_tiers"] == ["flex"]


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("no", False), ("1h", "1h")])
def test_caching_reaches_the_model(cli, word, value):
    done = cli("run", "--mock", "Who?", "--implicit-caching", word, "--explain", "--json")
    (request,) = json.loads(done.out)["requests"]
    assert request["body"]["implicit_caching"] == value


def test_caching_of_another_word_is_refused(cli):
    done = cli("run", "--mock", "Who?", "--implicit-caching", "2h")
    assert (done.code, "'2h' is not one of: yes, no, 5m, 1h" in done.err) == (2, True)


def test_setting_that_the_provider_does_not_honour_is_refused(cli, at_server, server):
    done = cli("run", *at_server, "Who?", "--top-p", "0.5")
    assert (done.code, server.requests) == (2, [])
    assert "top_p" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("--temperature", "hot"),
        ("--retries", "-1"),
        ("--retries", "some"),
        ("--option", "n_ctx"),
        ("--option", "=1"),
        ("--option", "n_ctx=many"),
        ("--concurrency", "0"),
        ("--timeout", "0"),
        ("--stream-timeout", "0"),
        ("--uploads", "sometimes"),
        ("--temp", "0"),
    ],
)
def test_invalid_setting_is_refused(cli, words):
    done = cli("run", "--mock", "Who?", *words)
    assert (done.code, done.out) == (2, "")


def test_retries_are_attempts_after_the_first(cli, acme, server):
    server.reply(Answer(status=503, json={}, headers={"Retry-After": "0"}), build_answer("at last"))
    where = ("-p", "acme", "-m", "m", "--base-url", server.url)
    assert cli("run", *where, "Who?", "--retries", "1").out == "at last\n"
    assert len(server.requests) == 2


@pytest.mark.parametrize(("value", "kind"), [('"many"', "str"), ("[1]", "list"), ("1.5", "float")])
def test_option_of_the_provider_is_read_as_json(cedar, cli, value, kind):
    where = ("-p", "cedar", "-m", "m", "--base-url", "http://127.0.0.1:9")
    done = cli("run", *where, "Who?", "--option", f"rings={value}")
    assert done.code == 2
    assert f"option 'rings' of provider 'cedar' must be int, got {kind}" in done.err


MIDDLEWARE = """
from pollux_sync import hookimpl

class Shouting:
    @hookimpl(wrapper=True)
    def pollux_decode(self):
        reply = yield
        import attrs
        return attrs.evolve(reply, text=reply.text.upper())
"""


@pytest.fixture
def shout(site):
    """Install middleware that turns answers into capitals."""
    (site / "shouting.py").write_text(MIDDLEWARE)
    install(site, "pollux-shout", group="pollux_sync.plugins", shout="shouting:Shouting")


def test_middleware_is_switched_on_by_name(shout, cli):
    assert cli("run", "--mock", "Who?", "--plugin", "shout").out == "ECHO: WHO?\n"


def test_middleware_that_is_switched_on_elsewhere_stays_on(shout, cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", "shout")
    assert cli("run", "--mock", "Who?").out == "ECHO: WHO?\n"


def test_middleware_that_is_not_installed_is_refused(cli):
    done = cli("run", "--mock", "Who?", "--plugin", "nobody")
    assert done.code == 2
    assert "no installed plugin is called 'nobody'" in done.err


def test_every_argument_sets_a_field_or_is_read_by_name():
    by_name = {"help", "prompts", "prompts_file", "source", "per_source", "option"}
    by_name |= {"json", "stream", "explain", "count_tokens", "quiet", "is_continued", "conversation"}
    by_name |= {"template", "param"}
    fields = {field.name for declaration in (Config, Options) for field in attrs.fields(declaration)}
    assert {action.dest for action in build_run_parser()._actions} - fields == by_name


def test_defaults_in_the_help_are_those_of_the_declaration(cli):
    config = Config(provider="mock", model="m", use_mock=True)
    found = re.findall(r"default: (\d+)", " ".join(cli("run", "--help").out.split()))
    retries = config.retry.max_attempts - 1
    assert list(map(float, found)) == [
        config.request_concurrency,
        config.timeout_s,
        config.stream_timeout_s,
        retries,
    ]
    assert config.uploads == "auto"


def test_every_field_of_a_configuration_has_an_argument_unless_it_is_an_object():
    # A table of capabilities and a client belong to scripts; --option sets the provider's options.
    without = {"client", "capabilities", "provider_options", "_completed"}
    arguments = {action.dest for action in build_run_parser()._actions}
    assert {field.name for field in attrs.fields(Config)} - arguments == without


def test_every_option_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    options = [
        name for action in build_run_parser()._actions for name in action.option_strings if action.help != SUPPRESS
    ]
    assert [name for name in options if f"`{name}" not in page and name not in {"-h", "--help"}] == []


# schemas


def test_fields_become_a_schema():
    assert read_schema("name, age int?, height float, is_old bool,tags list[str], rows list[list[int]], n list") == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "height": {"type": "number"},
            "is_old": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "rows": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "n": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "height", "is_old", "tags", "rows", "n"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("text", ["name?", "name ?", "name str?", "name str ?"])
def test_question_mark_makes_a_field_optional(text):
    assert read_schema(text)["required"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--schema: '' is not a field"),
        ("name str,", "--schema: '' is not a field"),
        ("1st str", "--schema: '1st str' is not a field"),
        ("name str int", "--schema: 'name str int' is not a field"),
        ("name text", "--schema: unknown type 'text'"),
        ("name list[text]", "--schema: unknown type 'text'"),
        ("name str, name int", "--schema: the field 'name' occurs twice"),
        ("missing.json", "cannot read the schema missing.json: No such file or directory"),
        ("./broken", "broken is not JSON: "),
        ("./number", "number contains a int, not a JSON Schema"),
    ],
)
def test_schema_that_cannot_be_read_is_refused(folder, cli, text, message):
    (folder / "broken").write_text("{")
    (folder / "number").write_text("1")
    done = cli("run", "--mock", "Who?", "--schema", text)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")


def test_typed_answer_is_printed_as_a_line_of_json(cli):
    assert (
        cli("run", "--mock", "Who?", "--schema", "name str, age int, born int?").out == '{"name": "text", "age": 0}\n'
    )


def test_any_object_can_be_asked_for(cli):
    assert cli("run", "--mock", "Who?", "--json-object").out == "{}\n"


def test_any_object_and_a_schema_exclude_each_other(cli):
    done = cli("run", "--mock", "Who?", "--json-object", "--schema", "name")
    assert (done.code, "not allowed with" in done.err) == (2, True)


def test_schema_can_be_a_file(folder, cli):
    (folder / "schema.json").write_text('{"type": "array", "items": {"type": "integer"}, "minItems": 1}')
    assert cli("run", "--mock", "Who?", "--schema", "schema.json").out == "[0]\n"


@pytest.fixture
def use_script(site, monkeypatch):
    """Return a function that enables middleware which answers by a script."""

    def use_script(script):
        module = types.ModuleType("scripted_plugin_of_this_test")
        module.script = script
        monkeypatch.setitem(sys.modules, module.__name__, module)
        name = f"script-{id(script)}"
        install(site, name, group="pollux_sync.plugins", **{name: f"{module.__name__}:script"})
        monkeypatch.setenv("POLLUX_SYNC_PLUGINS", name)

    return use_script


def test_answer_that_does_not_fit_is_printed_with_a_remark(cli, use_script):
    use_script(Script('{"age": "old"}', '{"age": 7}'))
    done = cli("run", "--mock", "a", "b", "--schema", "age int", "--concurrency", "1")
    assert done.code == 1
    assert done.out == '--- 1/2: a ---\n{"age": "old"}\n--- 2/2: b ---\n{"age": 7}\n'
    assert done.err.startswith("error: prompt 1 of 2: the answer does not fit --schema: $.age: ")


# results


def test_json_is_the_whole_result(cli):
    done = cli("run", "--mock", "café", "--schema", "name str", "--json")
    result = json.loads(done.out)
    assert done.code == 0
    assert result["structured"] == [{"name": "text"}]
    assert result["metrics"]["n_calls"] == 1


def test_empty_answer_is_a_failure(cli, use_script):
    use_script(Script("", otherwise="fine"))
    done = cli("run", "--mock", "a", "b", "--concurrency", "1")
    assert done.code == 1
    assert done.out == "--- 2/2: b ---\nfine\n"
    assert done.err.startswith("1 of 2 prompts have no answer\nerror: the answer is empty (finish reason: stop)\n")


def test_every_empty_answer_is_told_when_errors_are_kept(cli, use_script):
    use_script(Script("", otherwise="fine"))
    done = cli("run", "--mock", "a", "b", "--concurrency", "1", "--keep-errors")
    assert (done.code, done.out) == (1, "--- 2/2: b ---\nfine\n")
    assert done.err.startswith("error: prompt 1 of 2: the answer is empty (finish reason: stop)\n")


def test_answer_that_was_cut_before_its_first_word_is_a_failure(cli, use_script):
    use_script(Script(Reply(finish_reason="length")))
    done = cli("run", "--mock", "a")
    assert done.code == 1
    assert done.err.startswith("error: the answer is empty (finish reason: length)\n  hint: raise --max-tokens")


def test_tool_call_is_an_answer(cli, use_script):
    use_script(Script(Reply(tool_calls=(ToolCall("1", "look", "{}"),))))
    done = cli("run", "--mock", "a")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.fixture
def rude(server):
    """Four prompts, of which the server refuses the second and the fourth."""
    files = FileServer()
    files.failing_prompts = {"second": 400, "fourth": 400}
    server.handler = files
    return ("first", "second", "third", "fourth")


def test_answers_are_printed_though_other_prompts_failed(cli, at_server, rude):
    done = cli("run", *at_server, *rude)
    assert done.code == 1
    assert done.out == "--- 1/4: first ---\nFIRST\n--- 3/4: third ---\nTHIRD\n"
    assert done.err == "2 of 4 prompts have no answer\nerror: status 400: no to second\n"


def test_every_error_is_printed_when_they_are_kept(cli, at_server, rude):
    done = cli("run", *at_server, *rude, "--keep-errors")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: prompt 2 of 4: status 400: no to second",
        "error: prompt 4 of 4: status 400: no to fourth",
    ]


@pytest.mark.parametrize("keep", [(), ("--keep-errors",)])
def test_json_of_a_partial_result_holds_the_errors(cli, at_server, rude, keep):
    done = cli("run", *at_server, *rude, "--json", *keep)
    result = json.loads(done.out)
    assert (done.code, result["status"]) == (1, "partial")
    assert [error and error["status_code"] for error in result["errors"]] == [None, 400, None, 400]


def test_error_of_a_single_prompt_is_printed_with_its_hint(cli, at_server, server):
    server.reply(Answer(status=401, json={"error": {"message": "who are you"}}), Answer(status=401, json={}))
    for words in [(), ("--keep-errors",)]:
        done = cli("run", *at_server, "Who?", *words)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: status 401")
        assert "hint: check ACME_API_KEY" in done.err


def test_key_never_shows(cli, at_server, server):
    server.reply(Answer(status=400, json={"error": {"message": "bad key sk-secret"}}))
    done = cli("run", *at_server, "Who?", "--json", "--traceback")
    assert "sk-secret" not in done.out + done.err


# interrupting


STOPS = pytest.mark.parametrize(
    ("stop", "code", "remark"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)


@STOPS
def test_a_stop_prints_the_answers_so_far(acme, server, start, stop, code, remark):
    files = FileServer()
    server.handler = lambda request: files(request) if request.json()["prompt"] == "p0" else Hang()
    prompts = [f"p{n}" for n in range(10)]
    process = start("run", "-p", "acme", "-m", "m", "--base-url", server.url, *prompts)
    server.wait_for_requests(7)
    process.send_signal(stop)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == "--- 1/10: p0 ---\nP0\n"
    assert err == f"9 of 10 prompts have no answer\n{remark}\n"


@STOPS
def test_a_stop_prints_the_json_so_far(acme, server, start, stop, code, remark):
    server.handler = lambda request: Hang()
    process = start("run", "-p", "acme", "-m", "m", "--base-url", server.url, "a", "b", "--json")
    server.wait_for_requests(2)
    process.send_signal(stop)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert json.loads(out)["status"] == "error"
    assert err.endswith(f"{remark}\n")


@STOPS
def test_a_stop_deletes_uploaded_files(acme, server, start, tmp_path, stop, code, remark):
    files = FileServer()
    server.handler = lambda request: Hang() if request.path == "/ask" else files(request)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    process = start("run", "-p", "acme", "-m", "m", "--base-url", server.url, "-s", "a.png", "Who?")
    server.wait_for_requests(2)
    process.send_signal(stop)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, f"{remark}\n")
    assert files.deleted == ["id-a.png"]


@STOPS
def test_a_stop_ends_the_line_of_a_streamed_answer(server, start, stop, code, remark):
    server.reply(Events([b'data: {"choices": [{"delta": {"content": "one "}}]}\n\n'], ending="hang"))
    process = start("run", "-p", "local", "-m", "m", "--base-url", f"{server.url}/v1", "--stream", "Who?")
    assert process.stdout.read(4) == "one "
    process.send_signal(stop)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "\n", f"{remark}\n")


@STOPS
def test_a_stop_while_a_plugin_is_imported_is_not_the_plugins_problem(site, start, stop, code, remark):
    (site / "slow_provider.py").write_text(
        "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(60)"
    )
    install(site, "pollux-slow", slow="slow_provider:Slow")
    process = start("plugins")
    assert process.stderr.readline() == "importing\n"
    process.send_signal(stop)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, f"{remark}\n")


def test_a_command_runs_in_another_thread(cli):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli("run", "--mock", "Who?").code))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_command_leaves_the_handlers_of_signals_as_they_were(cli):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    cli("run", "--mock", "Who?")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


# progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def config_at(progress, script):
    retry = RetryPolicy(max_attempts=1)
    fields = {"request_concurrency": 1, "plugins": [script, progress], "retry": retry}
    return Config(provider="mock", model="m", use_mock=True, **fields)


def test_progress_is_rewritten_in_place_and_leaves_nothing_behind():
    stream, times = Terminal(), iter([0.0, 1.0, 2.0, 12.4, 113.0])
    script = Script("fine", failing(400), otherwise="fine")
    with Progress(stream, clock=lambda: next(times)) as progress, pytest.raises(Exception, match="scripted"):
        run_many(["a", "b", "c", "d"], config=config_at(progress, script))
    lines = stream.getvalue().split("\r")
    assert lines == [
        "",
        "1/4 answered, 1 failed, 2 s",
        "2/4 answered, 1 failed, 12 s",
        "3/4 answered, 1 failed, 113 s",
        " " * len("3/4 answered, 1 failed, 113 s"),
        "",
    ]


class Listening(Terminal):
    """A stream that tells when something was written to it."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        count = super().write(text)
        self.written.set()
        return count


def test_progress_is_shown_before_the_first_answer():
    stream = Listening()
    progress = Progress(stream, clock=iter([0.0, *[3.0] * 1000]).__next__, delay_s=0.01)

    class Waiting:
        @hookimpl
        def pollux_call(self):
            assert stream.written.wait(20)
            return Reply(text="fine")

    with progress:
        run_many("a", config=config_at(progress, Waiting()))
    assert stream.getvalue().startswith("\r0/1 answered, 3 s")


def test_progress_of_a_quick_run_is_not_shown():
    stream = Terminal()
    with Progress(stream, clock=lambda: 0.0) as progress:
        run_many(["a", "b"], config=config_at(progress, Script()))
    assert stream.getvalue() == ""


def test_call_that_ends_after_its_run_writes_nothing():
    stream, times = Terminal(), iter([0.0, 5.0])
    progress = Progress(stream, clock=lambda: next(times))
    with progress:
        pass
    run_many("a", config=config_at(progress, Script()))
    assert stream.getvalue() == ""


def test_terminal_that_is_gone_does_not_end_the_run():
    stream, times = Terminal(), iter([0.0, 5.0])
    stream.close()
    with Progress(stream, clock=lambda: next(times)) as progress:
        result = run_many("a", config=config_at(progress, Script()))
    assert result["answers"] == ["echo: a"]


def test_quick_run_on_a_terminal_shows_the_answers_alone(cli, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli("run", "--mock", "Who?").out == "echo: Who?\n"
    assert terminal.getvalue() == ""


def test_progress_is_shown_on_a_terminal():
    assert build_progress(Terminal(), is_quiet=False) is not None


@pytest.mark.parametrize(("stream", "is_quiet"), [(Terminal(), True), (io.StringIO(), False), (None, False)])
def test_progress_is_not_shown_where_it_would_be_in_the_way(stream, is_quiet):
    assert build_progress(stream, is_quiet=is_quiet) is None


# explaining


def test_explaining_prints_what_would_be_sent(cli, server, at_server):
    done = cli("run", *at_server, "--explain", "Who built it?", "When?")
    assert (done.code, done.err, server.requests) == (0, "", [])
    assert done.out.startswith(f"2 requests to acme, model m: not sent\n  POST {server.url}/ask: ")


def test_counting_prints_what_would_be_sent_too(cli):
    done = cli("run", "--mock", "--count-tokens", "Who built it?")
    assert (done.code, done.err) == (0, "")
    assert "  input tokens: 10, counted by the provider\n" in done.out


def test_explaining_prints_everything_as_json(cli, server, at_server):
    done = cli("run", *at_server, "--explain", "--json", "Who?")
    (request,) = json.loads(done.out)["requests"]
    assert (done.code, request["body"]["prompt"], server.requests) == (0, "Who?", [])
    assert "sk-secret" not in done.out
    assert "$ACME_API_KEY" in request["curl"]


def test_explaining_refuses_what_running_refuses(cli, server, at_server):
    done = cli("run", *at_server, "--explain", "--top-p", "0.5", "Who?")
    assert (done.code, done.out, server.requests) == (2, "", [])
    assert "does not support top_p" in done.err


# streams


def test_answer_is_printed_as_it_comes(cli):
    done = cli("run", "--mock", "--stream", "Who built it?")
    assert (done.code, done.out, done.err) == (0, "echo: Who built it?\n", "")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--json", "a"], "cannot be used with --json"),
        (["--explain", "a"], "cannot be used with --explain"),
        (["a", "b"], "cannot be used for 2 answers"),
    ],
)
def test_only_one_answer_can_be_printed_as_it_comes(cli, words, problem):
    done = cli("run", "--mock", "--stream", *words)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err


def test_one_source_of_its_own_is_one_answer(cli):
    assert cli("run", "--mock", "--stream", "a", "-s", "-", "--per-source", stdin="text").out == "echo: text\n"


def test_text_that_arrived_is_printed_before_the_error(cli, use_script):
    use_script(Script(BrokenOff("half an ")))
    done = cli("run", "-p", "openai", "-m", "m", "--mock", "--stream", "a")
    assert (done.code, done.out) == (1, "half an \n")
    assert "the connection failed" in done.err


def test_says_after_two_seconds_that_it_waits_for_the_end_of_a_pipe():
    command = [sys.executable, "-m", "pollux_sync", "run", "--mock", "hi"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stderr.readline().startswith("reading standard input to its end")
        answer, _ = process.communicate("")
    assert (process.returncode, answer) == (0, "echo: hi\n")
