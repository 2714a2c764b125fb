import json
import sys

import pytest

from pollux_sync import Options
from pollux_sync.cli.templating import read_template

TOML = """
about = "A short text."
system = "Answer in $language."
prompt = "Sum up $topic in ${count} words, for $$5."
model = "small"
[options]
temperature = 0.5
stop = ["END"]
response_schema = "name str"
[params]
count = 20
"""


@pytest.fixture
def write(folder):
    """Return a function that writes a template."""
    templates = folder / "config" / "pollux-sync" / "templates"
    templates.mkdir(parents=True)

    def write(name, text):
        (templates / name).write_bytes(text.encode())
        return templates / name

    return write


# using


def test_template_is_the_prompt(cli, write):
    write("ask.toml", 'prompt = "Who built $what?"')
    assert cli("run", "--mock", "-t", "ask", "--param", "what=the lamp").out == "echo: Who built the lamp?\n"


def test_template_sets_instruction_model_and_options(cli, write):
    write("short.toml", TOML)
    words = ("run", "--mock", "-t", "short", "--param", "topic=lamps", "--param", "language=Latin")
    explained = cli(*words, "--explain", "--json").out
    for part in ("Sum up lamps in 20 words, for $5.", "Answer in Latin.", '"small"', '"temperature": 0.5', "END"):
        assert part in explained


def test_arguments_take_the_place_of_the_template(cli, write):
    write("short.toml", 'prompt = "Who?"\nsystem = "a"\nmodel = "small"\n[options]\ntemperature = 0.5')
    words = ("run", "--mock", "-t", "short", "-m", "large", "--system", "b", "--temperature", "1")
    explained = json.loads(cli(*words, "--explain", "--json").out)
    assert explained["model"] == "large"
    assert ('"temperature": 1.0' in json.dumps(explained), '"small"' in json.dumps(explained)) == (True, False)


def test_model_of_a_template_is_not_asked_of_another_provider(cli, write):
    write("ask.toml", 'prompt = "Who?"\nprovider = "a"\nmodel = "small"')
    done = cli("run", "-p", "local", "-t", "ask")
    assert done.err.startswith("error: no model is named")


def test_template_without_a_prompt_goes_with_any(cli, write):
    write("latin.toml", 'system = "Answer in Latin."')
    assert cli("run", "--mock", "-t", "latin", "Who?").out == "echo: Who?\n"


def test_markdown_file_is_the_prompt(cli, write):
    write("ask.md", "Who built $what?\r\n\r\nSay it briefly.\r\n")
    done = cli("run", "--mock", "-t", "ask", "--param", "what=it")
    assert done.out == "echo: Who built it?\n\nSay it briefly.\n"


def test_markdown_file_may_have_settings_above_its_prompt(cli, write):
    write("ask.md", '\ufeff+++\nmodel = "small"\n[params]\nwhat = "the lamp"\n+++\n\nWho built $what?\n')
    template = read_template("ask")
    assert (template.model, template.prompt) == ("small", "Who built $what?")
    assert cli("run", "--mock", "-t", "ask").out == "echo: Who built the lamp?\n"


def test_piped_text_is_a_source_of_a_template(cli, write):
    write("ask.md", "Who?")
    assert cli("run", "--mock", "-t", "ask", stdin="Call me Ishmael.").out == "echo: Call me Ishmael.\n"


def test_template_begins_a_chat(cli, write):
    write("ask.toml", 'prompt = "Who?"')
    assert cli("chat", "--mock", "-t", "ask", stdin="When?\n").out == "echo: Who?\necho: When?\n"


def test_value_may_hold_a_dollar_sign(cli, write):
    write("ask.toml", 'prompt = "$what"')
    assert cli("run", "--mock", "-t", "ask", "--param", "what=$who=").out == "echo: $who=\n"


def test_every_option_that_has_an_argument_can_be_set(write):
    write("all.toml", "[options]\nseed = 1\nlabel_sources = false\nimplicit_caching = '5m'\nreasoning_effort = 'low'")
    assert Options(**read_template("all").options).seed == 1


# mistakes


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--param", "topc=x"), "template 'short' has no placeholder 'topc'", "did you mean 'topic'?"),
        ((), "template 'short' needs language, topic", "add --param language=... --param topic=..."),
    ],
)
def test_wrong_placeholder_is_refused_before_anything_is_sent(cli, write, words, message, hint):
    write("short.toml", TOML)
    done = cli("run", "--mock", "-t", "short", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}\n")
    assert hint in done.err


@pytest.mark.parametrize("words", [("Who?",), ("--prompts", "p.txt")])
def test_second_prompt_beside_that_of_a_template_is_refused(cli, write, folder, words):
    (folder / "p.txt").write_text("Who?")
    write("ask.md", "Who?")
    done = cli("run", "--mock", "-t", "ask", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: template 'ask' has a prompt already\n  hint: leave yours out")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--param", "a=b"), "--param is for the placeholders of a template\n  hint: name a template: -t NAME"),
        (("-t", "nobody"), "no template is called 'nobody'"),
        (("-t", "../a"), "'../a' cannot be the name of a template"),
        (("-t", "a", "--param", "b"), "argument --param: 'b' is not NAME=VALUE"),
    ],
)
def test_template_that_cannot_be_found_is_refused(cli, words, error):
    done = cli("run", "--mock", *words, "Who?")
    assert (done.code, error in done.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("prompt = ", "template 'a' is not valid TOML"),
        ("prompts = 'x'", "has the key 'prompts', which is not known\n  hint: did you mean 'prompt'?"),
        ("prompt = 1", "prompt of template 'a' must be a text, got 1"),
        ("options = 'x'", "options of template 'a' must be a table"),
        ("[options]\ntemprature = 1", "did you mean 'temperature'?"),
        ("[options]\nsystem_instruction = 'x'", "has the key 'system_instruction'"),
        ("[options]\non_error = 'keep'", "has the key 'on_error'"),
        ("[options]\ntemperature = 'warm'", "temperature must be a number"),
        ("prompt = 'for 5$ each'", "the prompt of template 'a' has a $ that begins no placeholder"),
        ("prompt = 'x'\n[params]\ny = 1", "has a default for 'y', but no such placeholder"),
    ],
)
def test_mistake_in_a_template_is_reported(cli, write, text, error):
    write("a.toml", text)
    done = cli("run", "--mock", "-t", "a", *(() if "prompt" in text else ("Who?",)))
    assert (done.code, done.out) == (2, "")
    assert error in done.err


def test_markdown_file_has_one_prompt(cli, write):
    write("a.md", "+++\nprompt = 'x'\n+++\ny")
    assert "template 'a' has two prompts" in cli("run", "--mock", "-t", "a").err


def test_name_of_two_files_is_refused(cli, write):
    write("a.md", "x")
    write("a.toml", "")
    assert "two templates are called 'a': a.toml and a.md" in cli("run", "--mock", "-t", "a").err


def test_file_that_is_not_text_is_refused(cli, write):
    write("a.md", "").write_bytes(b"\xff\xfe")
    assert "save it as text in UTF-8" in cli("run", "--mock", "-t", "a").err


# the command


def test_list_shows_placeholders_and_mistakes(cli, write):
    write("short.toml", TOML)
    write("broken.toml", "prompt = 1")
    assert cli("templates", "list").out == (
        "NAME    PLACEHOLDERS             ABOUT\n"
        "broken                           error: prompt of template 'broken' must be a text, got 1\n"
        "short   language topic count=20  A short text.\n"
    )


def test_list_is_empty_without_a_folder(cli):
    assert cli("templates", "list").out == "NAME  PLACEHOLDERS  ABOUT\n"


def test_show_prints_the_file(cli, write):
    write("a.md", "Who?\n")
    assert cli("templates", "show", "a").out == "Who?\n"


def test_path_is_that_of_the_folder_or_of_a_template(cli, write):
    file = write("a.md", "Who?\n")
    assert cli("templates", "path").out == f"{file.parent}\n"
    assert cli("templates", "path", "a").out == f"{file}\n"
    assert cli("templates", "path", "b").code == 2


@pytest.fixture
def editor(folder, monkeypatch):
    """Return a function that sets the editor: a program that writes a text into the file."""

    def editor(text):
        script = folder / "editor.py"
        body = f"open(sys.argv[1], 'w').write({text!r})" if text is not None else "pass"
        script.write_text(f"import sys; {body}")
        monkeypatch.setenv("EDITOR", f"'{sys.executable}' '{script}'")
        monkeypatch.delenv("VISUAL", raising=False)

    return editor


def test_edit_begins_a_template(cli, editor):
    editor('prompt = "Who?"')
    assert cli("templates", "edit", "ask").code == 0
    assert cli("run", "--mock", "-t", "ask").out == "echo: Who?\n"


def test_edit_keeps_nothing_that_was_not_changed(cli, editor, folder):
    editor(None)
    assert cli("templates", "edit", "ask").err == "the template was not changed, and is not kept\n"
    assert cli("templates", "list").out.count("\n") == 1


def test_edit_opens_the_file_that_is_there(cli, write, editor):
    file = write("ask.md", "Who?")
    editor("When?")
    cli("templates", "edit", "ask")
    assert file.read_text() == "When?"


def test_edit_reports_a_mistake(cli, write, editor):
    write("ask.toml", "")
    editor("prompt = ")
    done = cli("templates", "edit", "ask")
    assert (done.code, "is not valid TOML" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("program", "error"),
    [("/nonexistent/editor", "cannot start the editor"), (f"'{sys.executable}' -c 'exit(3)'", "failed with status 3")],
)
def test_editor_that_does_not_work_is_reported(cli, write, monkeypatch, program, error):
    write("ask.toml", "")
    monkeypatch.setenv("VISUAL", program)
    done = cli("templates", "edit", "ask")
    assert (done.code, error in done.err) == (2, True)


def test_first_version_of_a_template_has_no_mistake(cli, write, editor, monkeypatch, folder):
    editor(None)
    (folder / "editor.py").write_text("import sys; open(sys.argv[1], 'a').write('# mine')")
    assert cli("templates", "edit", "ask").code == 0
    assert cli("run", "--mock", "-t", "ask", "--param", "topic=lamps").out == "echo: Explain lamps in one sentence.\n"


def test_missing_subcommand_is_refused(cli):
    assert cli("templates").code == 2
