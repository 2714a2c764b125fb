"""What people see of values in a shell and in a notebook."""

import pytest

from pollux_sync import Config, Options, Output, Session, explain, run, run_many, stream
from pollux_sync.testing import Script, failing

CONFIG = Config(provider="openai", model="m", use_mock=True)


def test_notebook_shows_an_answer_and_what_it_took():
    shown = run("hi", config=CONFIG)._repr_markdown_()
    assert shown.startswith("echo: hi\n\n*ok, ")
    assert "output tokens, 0.0 s*" in shown
    assert Output(run("hi", config=CONFIG))._repr_markdown_().startswith("echo: hi\n\n*ok")


def test_notebook_numbers_answers_and_tells_errors():
    config = Config(
        provider="openai", model="m", use_mock=True, plugins=[Script("a", failing(400))], request_concurrency=1
    )
    shown = run_many(["x", "y"], config=config, options=Options(on_error="keep"))._repr_markdown_()
    assert "**1.** a\n\n**2.** " in shown
    assert "**APIError**: " in shown
    assert "*partial, " in shown


def test_notebook_shows_the_first_of_many_answers():
    shown = run_many([f"q{n}" for n in range(30)], config=CONFIG)._repr_markdown_()
    assert "**20.** echo: q19" in shown
    assert "q20" not in shown
    assert "and 10 more answers" in shown


def test_explanation_in_a_shell_is_one_line():
    explanation = explain("hi", config=CONFIG)
    assert repr(explanation) == "Explanation(1 request to openai, model m: not sent)"
    assert explanation._repr_markdown_() == f"```text\n{explanation}\n```"


def test_session_says_whether_it_is_open():
    with Session(config=CONFIG) as session:
        assert repr(session) == "Session(openai, model m: open)"
    assert repr(session) == "Session(openai, model m: closed)"


def test_stream_says_how_far_it_is():
    events = stream("hi", config=CONFIG)
    assert repr(events) == "Stream(1 prompt to openai, model m: open)"
    events.result()
    assert repr(events).endswith(": read)")
    left = stream("hi", config=CONFIG)
    left.close()
    assert repr(left).endswith(": closed)")
    broken = stream("hi", config=Config(provider="openai", model="m", use_mock=True, plugins=[Script(failing(400))]))
    with pytest.raises(Exception, match="400"):
        broken.result()
    assert repr(broken).endswith(": failed)")
