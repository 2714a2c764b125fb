import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from installing import install
from pollux_sync import APIError, ConfigurationError, PlanningError, ProviderBugError, SourceError
from pollux_sync.cli import main
from pollux_sync.cli.codes import MEANINGS
from pollux_sync.cli.commands import DESCRIPTIONS
from pollux_sync.hooks.loading import COMMANDS, list_entry_points

numbers = itertools.count()


@pytest.fixture
def command(site):
    """Return a function that installs a command called hello, whose main has the given body."""

    def command(body, name="hello", distribution="pollux-hello"):
        module = f"command_{next(numbers)}"
        (site / f"{module}.py").write_text(f"def main(argv):\n    {body}\n")
        install(site, distribution, group=COMMANDS, **{name: f"{module}:main"})

    return command


# finding commands


def test_help_lists_the_built_in_commands_with_a_line_about_each(cli):
    done = cli("--help")
    assert done.code == 0
    assert re.search(r"run +ask questions about files", done.out)
    assert re.search(r"doctor +look for what is missing", done.out)


def test_help_lists_an_installed_command_without_importing_it(site, cli):
    install(site, "pollux-hello", "3.1", group=COMMANDS, hello="no_such_module:main")
    assert re.search(r"hello +from pollux-hello 3\.1", cli("--help").out)


def test_every_built_in_command_has_a_description():
    ours = [entry.name for entry in list_entry_points(COMMANDS) if entry.distribution == "pollux-sync"]
    assert sorted(DESCRIPTIONS) == ours


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_help_of_a_command_begins_with_its_description(cli, name):
    assert f"\n\n{DESCRIPTIONS[name].capitalize()[:20]}" in cli(name, "--help").out.replace("Url", "URL")


def test_commands_and_exit_codes_are_documented():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    assert [name for name in DESCRIPTIONS if f"{name} " not in page] == []
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", page.replace("`", ""), re.MULTILINE))
    assert rows.keys() == {str(code) for code in MEANINGS}
    assert all(rows[str(code)].startswith(meaning) for code, meaning in MEANINGS.items())


def test_help_explains_the_exit_codes(cli):
    assert "130  interrupted" in cli("--help").out


def test_help_reports_that_no_command_is_installed(cli, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    assert "no command is installed" in cli("--help").out


def test_version_is_printed(cli):
    assert cli("--version").out.startswith("pollux-sync ")


def test_prints_the_help_to_stderr_and_fails_without_a_command(cli):
    done = cli()
    assert (done.code, done.out) == (2, "")
    assert "commands (" in done.err


def test_unknown_option_is_refused(cli):
    assert cli("--loud", "run").code == 2


def test_unknown_command_is_refused_with_a_near_one(cli):
    done = cli("doktor")
    assert done.code == 2
    assert "no installed command is called 'doktor'\n  hint: did you mean 'doctor'?" in done.err


def test_installed_command_gets_the_words_after_its_name(command, cli):
    command("print(argv)")
    assert cli("hello", "--loud", "-h").out == "['--loud', '-h']\n"


def test_broken_command_is_refused_when_it_is_named(site, cli):
    install(site, "pollux-hello", group=COMMANDS, hello="no_such_module:main")
    done = cli("hello")
    assert done.code == 2
    assert "plugin 'hello' of pollux-hello 1.0 cannot be loaded: ModuleNotFoundError" in done.err


def test_broken_command_does_not_affect_others(site, cli):
    install(site, "pollux-hello", group=COMMANDS, hello="no_such_module:main", run="no_such_module:main")
    assert cli("run", "--mock", "Who?").code == 0


def test_command_with_the_name_of_a_built_in_one_is_called_by_its_distribution(command, cli):
    command("print('mine')", name="run")
    assert "pollux-hello:run  from pollux-hello 1.0" in cli("--help").out
    assert cli("pollux-hello:run").out == "mine\n"


def test_command_offered_twice_is_refused_with_the_choice(command, cli):
    command("print('first')")
    command("print('second')", distribution="pollux-other")
    done = cli("hello")
    assert done.code == 2
    assert "ask for 'pollux-hello:hello' or 'pollux-other:hello'" in done.err
    assert cli("pollux-other:hello").out == "second\n"


def test_command_that_is_not_a_function_is_refused(site, cli):
    install(site, "pollux-hello", group=COMMANDS, hello="json.decoder:NaN")
    done = cli("hello")
    assert done.code == 2
    assert "command 'hello' of pollux-hello 1.0 is a float, not a function" in done.err


def test_module_runs_as_the_command_does(start):
    out, _ = start("run", "--mock", "Who?").communicate()
    assert out == "echo: Who?\n"


def test_installed_script_is_the_command_line():
    script = Path(sys.executable).with_name("pollux-sync")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "pollux-sync")


# ending


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return 7", 7),
        ("return None", 0),
        ("return True", 1),
        ("raise SystemExit", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no way')", 1),
        ("raise KeyboardInterrupt", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 143),
        ("raise RuntimeError('no such whale')", 1),
    ],
)
def test_exit_code_says_how_the_command_ended(command, cli, body, code):
    command(body)
    assert cli("hello").code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError, 2), (SourceError, 2), (PlanningError, 2), (APIError, 1), (ProviderBugError, 1)],
)
def test_exit_code_says_whose_fault_an_error_is(command, cli, error, code):
    command(f"from pollux_sync import {error.__name__} as E; raise E('no whale', hint='look again')")
    done = cli("hello")
    assert (done.code, done.err) == (code, "error: no whale\n  hint: look again\n")


def test_refusal_of_some_prompts_after_others_were_sent_is_a_failure(command, cli):
    command("from pollux_sync import SourceError; e = SourceError('no'); e.partial_result = {}; raise e")
    assert cli("hello").code == 1


def test_unexpected_error_is_one_line_and_a_hint(command, cli):
    command("raise RuntimeError('no such whale')")
    assert cli("hello").err == "error: RuntimeError: no such whale\n  hint: add --traceback to see where it fails\n"


@pytest.mark.parametrize("words", [("--traceback", "hello"), ("hello", "--traceback")])
def test_traceback_is_shown_on_request(command, cli, words):
    command("raise RuntimeError(f'no such whale {argv}')")
    err = cli(*words).err
    assert err.startswith("Traceback")
    assert err.endswith("RuntimeError: no such whale []\n")


def test_traceback_after_two_dashes_belongs_to_the_command(command, cli):
    command("print(argv)")
    assert cli("hello", "--", "--traceback").out == "['--', '--traceback']\n"


def test_traceback_is_shown_in_strict_mode(command, cli, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", "1")
    command("raise RuntimeError('no such whale')")
    assert "Traceback" in cli("hello").err


def test_text_that_a_command_exits_with_is_printed(command, cli):
    command("raise SystemExit('no way')")
    assert cli("hello").err == "no way\n"


BUFFERING = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@BUFFERING
def test_reader_that_goes_away_ends_the_command_quietly(start, unbuffered):
    process = start("run", "--mock", "Who?", env={"PYTHONUNBUFFERED": unbuffered})
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_reader_that_goes_away_while_it_writes_ends_the_command_quietly(command, start):
    command("[print(n) for n in range(100000)]")
    process = start("hello")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


@BUFFERING
def test_full_disk_is_reported(start, unbuffered):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with full.open("w") as stdout:
        process = start("run", "--mock", "Who?", stdout=stdout, env={"PYTHONUNBUFFERED": unbuffered})
        assert "No space left on device" in process.stderr.read().splitlines()[0]
        assert process.wait() == 1


def test_arguments_are_those_of_the_process_by_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pollux-sync", "run", "--mock", "Who?"])
    assert main() == 0
    assert capsys.readouterr().out == "echo: Who?\n"


# writing


@pytest.mark.parametrize("arguments", [("café",), ("café", "--json")])
def test_characters_that_stdout_cannot_show_come_as_escapes(start, arguments):
    environment = {"PYTHONIOENCODING": "ascii"}
    out, err = start("run", "--mock", *arguments, env=environment).communicate()
    assert err == ""
    assert "caf\\xe9\n" in out or json.loads(out)["answers"] == ["echo: café"]


def test_works_with_closed_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["run", "--mock", "Who?"]) == 0
    assert main(["run", "--mock", "-"]) == 2


# the cost of a start

HEAVY = {"asyncio", "cattrs", "jsonschema", "referencing", "requests", "urllib3"}
SCRIPT = """
import json, sys
from pollux_sync.cli import main
from pollux_sync.cli.commands import DESCRIPTIONS
from pollux_sync.cli.codes import MEANINGS
assert main(sys.argv[1:]) == 0
print(json.dumps(list(sys.modules)), file=sys.stderr)
"""


def modules_after(*words):
    command = [sys.executable, "-I", "-c", SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize(
    "words", [("--help",), ("plugins",), ("doctor",), ("run", "--help"), ("run", "--mock", "Who?")]
)
def test_command_imports_no_heavy_library(words):
    assert modules_after(*words) & HEAVY == set()


def test_help_imports_no_command_and_no_engine():
    modules = {name for name in modules_after("--help") if name.startswith("pollux_")}
    assert modules & {"pollux_sync.api", "pollux_sync.cli.run", "pollux_sync.cli.plugins", "pollux_local"} == set()
