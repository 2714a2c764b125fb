import pytest

from pollux_sync.cli.hints import translate_hint


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("pass base_url=... or set ACME_BASE_URL", "pass --base-url or set ACME_BASE_URL"),
        ("set ACME_API_KEY, write it into .env, or pass api_key=...", "set ACME_API_KEY, write it into .env"),
        ("check api_key or ACME_API_KEY", "check ACME_API_KEY"),
        ("raise Config(timeout_s=...), or check the load", "raise --timeout, or check the load"),
        ("lower request_concurrency or raise RetryPolicy's limits", "lower --concurrency or raise --retries"),
        ("ask again, or pass Options(on_error='keep')", "ask again, or pass --keep-errors"),
        ("pass it with Config(uploads='auto')", "pass it with --uploads auto"),
        ("Config(proxy='') does without", "--proxy '' does without"),
        ("leave uploads out", "leave --uploads out"),
        ("Config(provider_options={'takes_reasoning_effort': True})", "--option takes_reasoning_effort=true"),
        ("pass it with Source.from_file", "pass it with -s FILE"),
        ("check the model's name and the base url", "check the model's name and the base url"),
        ("the retry of a file", "the retry of a file"),
    ],
)
def test_speaks_of_options_instead_of_arguments(hint, shown):
    assert translate_hint(hint) == shown


def test_shows_the_flag_of_a_value_that_is_refused(cli):
    done = cli("run", "--mock", "a", "--plugin", "nobody")
    assert done.code == 2
    assert "pollux-nobody" not in done.err


def test_help_of_a_command_can_be_asked_for_by_its_name(cli):
    done = cli("help", "run")
    assert (done.code, done.out.startswith("usage: pollux-sync run ")) == (0, True)
    assert cli("help").out.startswith("usage: pollux-sync ")


def test_table_that_cannot_be_read_ends_the_command_before_anything_is_sent(folder, cli, at_server, server):
    (folder / "pyproject.toml").write_text("[tool.pollux-sync]\nplugins = 3\n")
    done = cli("run", *at_server, "Who?")
    assert (done.code, server.requests) == (2, [])
    assert "must be a list of names" in done.err
