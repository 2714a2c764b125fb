import json

import pytest

from control_characters import EVIL, SHOWN
from installing import install
from pollux_sync.commands import escape_controls
from pollux_sync.testing.server import Answer


def find_raw(text):
    return [sign for sign in text if escape_controls(sign) != sign]


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
