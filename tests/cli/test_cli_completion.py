import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installing import install
from pollux_sync.cli.asking import build_run_parser
from pollux_sync.cli.commands import DESCRIPTIONS, load_command
from pollux_sync.cli.completing import list_candidates
from pollux_sync.commands import read_parser
from pollux_sync.hooks.loading import COMMANDS

BASH, ZSH, FISH = map(shutil.which, ("bash", "zsh", "fish"))


def complete(*words):
    return [candidate.word for candidate in list_candidates(words)]


def run_shell(*command):
    """Run a shell with this program on its path; return what it prints."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


# what a word can become


def test_first_word_is_a_command(site):
    install(site, "pollux-hello", "3.1", group=COMMANDS, hello="no_such_module:main")
    assert {*DESCRIPTIONS, "hello", "help"} <= {*complete("")}
    assert complete("hel") == ["hello", "help"]


def test_options_before_the_command_are_those_of_the_program():
    assert complete("--") == ["--help", "--version", "--traceback"]
    assert complete("--traceback", "ru") == ["run"]


def test_help_takes_a_command():
    assert complete("help", "defe") == ["defer"]


def test_options_are_those_of_the_parser():
    shown = {name for action in build_run_parser()._actions for name in action.option_strings}
    assert {*complete("run", "-")} == shown - {"--api-key", "--header"}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_every_built_in_command_declares_its_parser(name):
    assert read_parser(load_command(name)).prog == f"pollux-sync {name}"
    assert "--help" in complete(name, "--h")


@pytest.mark.parametrize(
    "words", [("run", "-p", "loc"), ("models", "--provider", "loc"), ("batch", "run", "-p", "loc")]
)
def test_provider_is_an_installed_one(words):
    assert complete(*words) == ["local"]


def test_provider_of_another_package_is_offered(acme):
    assert complete("run", "-p", "acm") == ["acme"]


def test_value_may_follow_an_equals_sign():
    assert complete("run", "--provider=loc") == ["--provider=local"]
    assert complete("run", "--nothing=x") == []


def test_choices_are_offered():
    assert complete("run", "--uploads", "") == ["auto", "always", "never"]


def test_template_is_an_installed_one(folder):
    templates = folder / "config" / "pollux-sync" / "templates"
    templates.mkdir(parents=True)
    (templates / "ask.md").write_text("Who?")
    assert (
        complete("run", "-t", "") == complete("chat", "--template", "a") == complete("templates", "show", "") == ["ask"]
    )


def test_conversation_is_a_kept_one(cli):
    cli("run", "--mock", "--conversation", "lamp", "Who?")
    assert complete("chat", "--conversation", "") == ["lamp"]


def test_middleware_is_an_installed_one(site):
    install(site, "pollux-shout", group="pollux_sync.plugins", shout="shouting:Shouting")
    assert complete("run", "--plugin", "sho") == ["shout"]


def test_subcommands_are_offered_with_a_line_about_each():
    assert complete("templates", "") == ["list", "show", "edit", "path"]
    assert list_candidates(["templates", "sh"])[0].about == "print a template"
    assert complete("batch", "run", "--journ") == ["--journal"]


@pytest.mark.parametrize("words", [("run", ""), ("run", "-s", ""), ("run", "--", "-"), ("run", "--system", "-")])
def test_other_words_are_left_to_the_shell(words):
    assert complete(*words) == []


def test_command_without_a_parser_is_not_called(site):
    (site / "hello_command.py").write_text("def main(argv):\n    raise AssertionError('called')\n")
    install(site, "pollux-hello", group=COMMANDS, hello="hello_command:main")
    assert complete("hello", "-") == []


# the command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_calls_this_program_for_every_completion(cli, shell):
    done = cli("completion", shell)
    assert (done.code, f"completion {shell} -- " in done.out) == (0, True)


@pytest.mark.parametrize("words", [(), ("tcsh",)])
def test_unknown_shell_is_refused(cli, words):
    assert cli("completion", *words).code == 2


def test_each_shell_gets_lines_in_its_form(cli):
    line = "ask questions about files, URLs, papers, videos or piped text"
    assert cli("completion", "bash", "--", "ru").out == "run\n"
    assert cli("completion", "zsh", "--", "ru").out == f"run:{line}\n"
    assert cli("completion", "fish", "--", "ru").out == f"run\t{line}\n"


def test_colon_of_a_name_is_escaped_for_zsh(cli, site):
    install(site, "pollux-hello", group=COMMANDS, run="no_such_module:main")
    assert cli("completion", "zsh", "--", "pollux-hello").out == "pollux-hello\\:run:from pollux-hello 1.0\n"


def test_bash_may_split_a_word_at_its_equals_sign(cli):
    assert cli("completion", "bash", "--", "run", "--provider", "=", "loc").out == "local\n"
    assert "local\n" in cli("completion", "bash", "--", "run", "--provider", "=").out


# real shells

TRY_IN_BASH = """
eval "$(pollux-sync completion bash)"
complete -p pollux-sync
try() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _pollux_sync "$1" "${@: -1}" "${@: -2:1}"
    echo "${COMPREPLY[*]}"
}
try pollux-sync ru
try pollux-sync templates sh
try pollux-sync run --provider = loc
try pollux-sync run notes.
"""


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes():
    registered, *found = run_shell(BASH, "-c", TRY_IN_BASH).splitlines()
    assert registered == "complete -o default -F _pollux_sync pollux-sync"
    assert found == ["run", "show", "local", ""]


TRY_IN_ZSH = """
compdef() { print registered $@ }
eval "$(pollux-sync completion zsh)"
_describe() { print -l -- $candidates }
_files() { print files }
words=(pollux-sync templates sh) CURRENT=3
_pollux_sync
words=(pollux-sync run '') CURRENT=3
_pollux_sync
"""


@pytest.mark.skipif(ZSH is None, reason="needs zsh")
def test_zsh_completes():
    assert run_shell(ZSH, "-f", "-c", TRY_IN_ZSH).splitlines() == [
        *["registered _pollux_sync pollux-sync", "show:print a template", "files"]
    ]


@pytest.mark.skipif(FISH is None, reason="needs fish")
def test_fish_completes():
    script = "pollux-sync completion fish | source; complete -C 'pollux-sync templates sh'"
    assert run_shell(FISH, "-c", script) == "show\tprint a template\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_help_says_how_the_shell_reads_the_script(cli, shell):
    assert re.search(rf"^{shell} +.*pollux-sync completion {shell}", cli("completion", "--help").out, re.MULTILINE)
