import json

import pytest

from installing import install
from pollux_sync.cli.terminal import escape_controls
from pollux_sync.testing.server import Answer

#: Sets a terminal's title, moves its cursor, turns the direction of writing, and deletes.
EVIL = "a\x1b]0;x\x07\x9b2J\u202eb\x7f\r"
SHOWN = r"a\x1b]0;x\x07\x9b2J\u202eb\x7f\r"


def find_raw(text):
    return [sign for sign in text if escape_controls(sign) != sign]


@pytest.mark.parametrize("text", ["", "plain", "two\nlines\tand a tab", "é 世界 🐋", "\u200f\u05d0"])
def test_text_without_control_characters_stays(text):
    assert escape_controls(text) == text


def test_each_control_character_is_escaped():
    assert escape_controls(EVIL) == SHOWN
    for code in [*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]:
        assert escape_controls(chr(code)).isascii()


@pytest.fixture
def evil_plugin(site):
    (site / "evil.py").write_text(f"raise RuntimeError({EVIL!r})")
    install(site, "pollux-evil", "1\x1b[2J", **{"na\x1b[31mme": "evil:Evil"})


@pytest.mark.usefixtures("evil_plugin")
@pytest.mark.parametrize("command", ["plugins", "doctor"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_names_of_plugins_are_escaped(cli, command, options):
    done = cli(command, *options)
    assert "na" in done.out
    assert find_raw(done.out + done.err) == []


@pytest.mark.usefixtures("evil_plugin")
def test_json_keeps_the_names(cli):
    plugins = json.loads(cli("plugins", "--json").out)
    assert [plugin for plugin in plugins if plugin["name"] == "na\x1b[31mme"]


def test_names_of_commands_are_escaped_in_the_help(cli, site):
    install(site, "pollux-evil", group="pollux_sync.commands", **{"x\x1b[31m": "evil:main"})
    done = cli("--help")
    assert r"x\x1b[31m" in done.out
    assert find_raw(done.out) == []


def test_names_of_models_are_escaped(cli, server):
    server.reply(Answer(json={"data": [{"id": f"m{EVIL}\nx"}]}))
    done = cli("models", "-p", "local", "--base-url", f"{server.url}/v1")
    assert done.out.splitlines()[1].startswith(f"m{SHOWN}\\nx")
    assert find_raw(done.out) == []


@pytest.mark.parametrize("options", [[], ["--traceback"]])
def test_error_messages_are_escaped(cli, at_server, server, options):
    server.reply(Answer(status=400, json={"error": {"message": EVIL}}))
    done = cli("run", *at_server, "Who?", *options)
    assert SHOWN.removesuffix(r"\r") in done.err
    assert find_raw(done.out + done.err) == []


@pytest.mark.parametrize(
    "words", [["run", "--no-such", EVIL], [f"--{EVIL}"], [EVIL], ["run", "--mock", "-s", EVIL, "x"]]
)
def test_arguments_are_escaped_in_errors(cli, words):
    done = cli(*words)
    assert done.code == 2
    assert find_raw(done.err) == []


def test_an_answer_is_printed_as_it_came(cli, at_server, server):
    server.reply(Answer(json={"answer": EVIL}))
    assert cli("run", *at_server, "Who?").out == f"{EVIL}\n"


def test_json_of_an_answer_is_escaped_and_the_same(cli, at_server, server):
    server.reply(Answer(json={"answer": EVIL}))
    done = cli("run", *at_server, "Who?", "--json")
    assert find_raw(done.out) == []
    assert json.loads(done.out)["answers"] == [EVIL]
