"""The fixtures in runs of pytest, each in a folder and a process of its own."""

import subprocess
import sys

import pytest
from _pytest.assertion.rewrite import AssertionRewriter

import pollux_sync
from chat_api import completion
from pollux_sync.testing.server import Answer, ScriptedServer

pytest_plugins = ["pytester"]


@pytest.fixture
def run_tests(pytester, monkeypatch):
    """A function that runs the tests in a text with our plugin alone, and returns the result."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run_tests(text, *options):
        pytester.makepyfile(text)
        # In a process of its own: pytester would forget the modules that the tests import, and keep their parents.
        return pytester.runpytest_subprocess("-p", "pollux_sync.testing.fixtures", "-W", "error", *options)

    return run_tests


RECORDED = """
from pollux_sync import run

def test_answers(recorded):
    config = recorded("talk.json").build_config(provider="local", model="m", base_url="{url}/v1")
    assert run("{prompt}", config=config)["answers"] == ["hello"]
"""


RECORDED_TWICE = """
from pollux_sync import run

def test_answers(recorded):
    for prompt in ("hi", "bye"):
        config = recorded("talk.json").build_config(provider="local", model="m", base_url="{url}/v1")
        assert run(prompt, config=config)["answers"] == ["hello"]
"""


def test_two_configurations_share_a_recording(run_tests):
    with ScriptedServer(default=Answer(json=completion("hello"))) as server:
        test = RECORDED_TWICE.format(url=server.url)
        run_tests(test, "--pollux-record").assert_outcomes(passed=1)
    run_tests(test).assert_outcomes(passed=1)


def test_records_once_and_replays_from_then_on(run_tests, pytester):
    with ScriptedServer(default=Answer(json=completion("hello"))) as server:
        test = RECORDED.format(url=server.url, prompt="hi")
        missing = run_tests(test)
        missing.assert_outcomes(failed=1)
        missing.stdout.fnmatch_lines("*run the test once with --pollux-record and a key*")
        run_tests(test, "--pollux-record").assert_outcomes(passed=1)
        assert len(server.requests) == 1
        run_tests(test).assert_outcomes(passed=1)
        run_tests(test, "--pollux-record").assert_outcomes(passed=1)
        assert len(server.requests) == 1
    changed = run_tests(RECORDED.format(url=server.url, prompt="bye"))
    changed.assert_outcomes(failed=1, errors=1)
    changed.stdout.fnmatch_lines('*recorded "hi", now "bye"*')
    assert (pytester.path / "talk.json").is_file()


def test_a_request_without_an_answer_fails_a_test_that_keeps_the_error(run_tests, pytester):
    (pytester.path / "talk.json").write_text('{"format": 1, "exchanges": []}')
    done = run_tests(
        """
        from contextlib import suppress
        from pollux_sync import run

        def test_hides_it(recorded):
            config = recorded("talk.json").build_config(provider="openai", model="m")
            with suppress(Exception):
                run("hi", config=config)
        """
    )
    done.assert_outcomes(passed=1, errors=1)


def test_no_network_fails_every_connection(run_tests):
    done = run_tests(
        """
        import socket
        import pytest
        from pollux_sync import Config, ConfigurationError, run

        pytestmark = pytest.mark.usefixtures("no_network")

        def test_call():
            run("hi", config=Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1"))

        def test_socket():
            with socket.socket() as wire:
                wire.connect(("127.0.0.1", 9))

        def test_name():
            socket.getaddrinfo("host.example", 443)

        def test_kept_error():
            with socket.socket() as wire, pytest.raises(ConfigurationError):
                wire.connect_ex(("127.0.0.1", 9))

        @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="has no such sockets")
        def test_inside_the_machine(tmp_path, monkeypatch):
            monkeypatch.chdir(tmp_path)
            with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
                one.bind("s")
                one.listen()
                two.connect("s")
                assert two.connect_ex("s") != 0
        """
    )
    done.assert_outcomes(failed=3, passed=2, errors=4)
    done.stdout.fnmatch_lines("*the test reached for the network: ('127.0.0.1', 9)*")
    done.stdout.fnmatch_lines("*the test reached for the network: 'host.example'*")


def test_scripted_answers_must_be_asked_for(run_tests):
    done = run_tests(
        """
        from pollux_sync import run
        from pollux_sync.testing import failing

        def test_asks(scripted):
            script = scripted(failing(503), "Ada")
            assert run("Who?", config=script.build_config())["answers"] == ["Ada"]
            assert len(script.requests) == 2

        def test_does_not_ask(scripted):
            scripted("Ada")
        """
    )
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines("*a scripted answer was not asked for*")


def test_a_fixture_of_the_same_name_takes_precedence(run_tests):
    done = run_tests(
        """
        import pytest

        @pytest.fixture
        def recorded():
            return "mine"

        def test_it(recorded):
            assert recorded == "mine"
        """
    )
    done.assert_outcomes(passed=1)


def test_pytest_finds_the_fixtures_by_itself(pytestconfig):
    assert pytestconfig.pluginmanager.get_plugin("pollux-sync") is not None


def test_a_script_that_starts_pytest_gets_no_warning():
    # pytest would warn of a package that it cannot rewrite any more. Only an installed wheel shows it.
    assert AssertionRewriter.is_rewrite_disabled(pollux_sync.__doc__)


def test_costs_a_run_that_uses_none_nothing_but_its_own_import():
    script = "import sys, pytest; before = {*sys.modules}; import pollux_sync.testing.fixtures; "
    script += "print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert [name for name in modules if not name.startswith("pollux_sync")] == []
    assert {*modules} <= {
        *("pollux_sync", "pollux_sync._lazy", "pollux_sync._version", "pollux_sync._successors"),
        *("pollux_sync.testing", "pollux_sync.testing.fixtures"),
    }
