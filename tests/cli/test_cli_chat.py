import json
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from pollux_sync.cli import main
from pollux_sync.cli.chatting import Spending
from pollux_sync.testing.server import Answer, Events

TEXT = "Ada lit the lamp in 1874."


def build_piece(text):
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def build_stream(text):
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    events = [build_piece(text), *(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (end, usage))]
    return Events([*events, b"data: [DONE]\n\n"])


HALF = Events([build_piece("one ")], ending="hang")


@pytest.fixture
def local(server):
    """The arguments that name the provider of local servers at the scripted server."""
    return ("-p", "local", "-m", "m", "--base-url", f"{server.url}/v1", "--retries", "0")


def list_messages(request):
    return [(message["role"], message["content"]) for message in request.json()["messages"]]


@pytest.fixture
def kept(state):
    """Return a function that reads the turns of a kept conversation."""
    return lambda name: json.loads((state / "conversations" / f"{name}.json").read_text())["turns"]


# questions


def test_each_line_of_a_pipe_is_a_question(cli):
    done = cli("chat", "--mock", stdin="Who?\n\nWhen?\n")
    assert (done.code, done.out) == (0, "echo: Who?\necho: When?\n")


def test_tokens_are_counted_on_stderr_at_the_end(cli, local, server):
    server.reply(build_stream("one"), build_stream("two"))
    assert cli("chat", *local, stdin="a\nb\n").err == "2 answers; tokens: 14 in, 4 out\n"


def test_cost_is_that_of_the_answers_whose_price_is_known():
    spending = Spending()
    for metrics in ({"cost_usd": 0.001}, {}, {"cost_usd": 0.0015}):
        spending.add({"usage": {}, "metrics": metrics})
    assert str(spending) == "3 answers; tokens: 0 in, 0 out; cost: $0.002500"


def test_quiet_chat_shows_answers_alone(cli):
    assert cli("chat", "--mock", "-q", stdin="a\n").err == ""


def test_question_sees_the_turns_before_it(cli, local, server):
    server.reply(build_stream("one"), build_stream("two"))
    cli("chat", *local, "--system", "Be brief.", stdin="a\nb\n")
    assert list_messages(server.requests[1]) == [
        *[("system", "Be brief."), ("user", "a"), ("assistant", "one"), ("user", "b")]
    ]


def test_prompts_of_the_command_line_come_first(cli):
    assert cli("chat", "--mock", "Who?", stdin="When?\n").out == "echo: Who?\necho: When?\n"


def test_source_goes_with_the_first_question(cli, folder):
    (folder / "notes.md").write_text(TEXT)
    assert cli("chat", "--mock", "-s", "notes.md", stdin="Who?\nWhen?\n").out == f"echo: {TEXT}\necho: When?\n"


def test_text_between_markers_is_one_question(cli):
    assert cli("chat", "--mock", stdin='"""\n/a\n\n b\n"""\nc\n').out == "echo: /a\n\n b\necho: c\n"


def test_text_without_its_second_marker_ends_with_the_input(cli):
    assert cli("chat", "--mock", stdin='"""\na\nb').out == "echo: a\nb\n"


def test_two_slashes_begin_a_question_with_one(cli):
    assert cli("chat", "--mock", stdin="//etc is what?\n").out == "echo: /etc is what?\n"


@pytest.mark.parametrize("words", [("-s", "-"), ("-",)])
def test_standard_input_cannot_be_a_source_or_a_prompt(cli, words):
    done = cli("chat", "--mock", *words, stdin="text")
    assert (done.code, done.out, "pass -s FILE" in done.err) == (2, "", True)


def test_key_as_an_argument_is_refused(cli):
    done = cli("chat", "--mock", "--api-key", "sk-secret", stdin="a\n")
    assert (done.code, done.out, "sk-secret" in done.err) == (2, "", False)


def test_input_that_is_not_text_is_refused(start, tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "bytes").open("rb") as stdin:
        _, err = start("chat", "--mock", stdin=stdin).communicate()
    assert err.startswith("error: standard input is not text in UTF-8")


# conversations


def test_every_answer_is_kept(cli, kept):
    cli("chat", "--mock", "--conversation", "lamp", stdin="Who?\nWhen?\n")
    assert [turn["content"] for turn in kept("lamp")] == ["Who?", "echo: Who?", "When?", "echo: When?"]


def test_last_conversation_goes_on(cli, state):
    cli("chat", "--mock", stdin="Who?\n")
    cli("chat", "-c", stdin="When?\n")
    (file,) = (state / "conversations").iterdir()
    assert len(json.loads(file.read_text())["turns"]) == 4


def test_conversation_goes_on_where_run_has_left_it(cli, kept):
    cli("run", "--mock", "--conversation", "lamp", "Who?")
    cli("chat", "--conversation", "lamp", stdin="When?\n")
    assert len(kept("lamp")) == 4


# commands


def test_sources_are_added_to_the_next_question(cli, folder):
    (folder / "my notes.md").write_text(TEXT)
    done = cli("chat", "--mock", stdin="/sources\n/sources 'my notes.md'\nWho?\nWhen?\n")
    assert done.out == f"echo: {TEXT}\necho: When?\n"
    assert done.err.startswith("no sources wait for the next question\nmy notes.md\n")


def test_open_quote_is_refused(cli):
    assert "/sources: No closing quotation" in cli("chat", "--mock", stdin="/sources 'a\n").err


def test_model_can_be_changed(cli, local, server):
    server.reply(build_stream("one"), build_stream("two"))
    done = cli("chat", *local, stdin="a\n/model other\nb\n/model\n")
    assert [request.json()["model"] for request in server.requests] == ["m", "other"]
    assert done.err.startswith("other\nother\n")


def test_retry_replaces_the_last_answer(cli, local, server, kept):
    server.reply(build_stream("one"), build_stream("two"))
    cli("chat", *local, "--conversation", "lamp", stdin="a\n/retry\n")
    assert [list_messages(request) for request in server.requests] == [[("user", "a")]] * 2
    assert [turn["content"] for turn in kept("lamp")] == ["a", "two"]


def test_retry_works_in_a_conversation_that_goes_on(cli, local, server, kept):
    server.reply(build_stream("one"), build_stream("two"))
    cli("chat", *local, stdin="a\n")
    cli("chat", "-c", *local[4:], stdin="/retry\n")
    assert list_messages(server.requests[1]) == [("user", "a")]


def test_undo_forgets_the_last_question_and_its_answer(cli, local, server, kept):
    server.reply(build_stream("one"), build_stream("two"), build_stream("three"))
    cli("chat", *local, "--conversation", "lamp", stdin="a\nb\n/undo\nc\n")
    assert list_messages(server.requests[2]) == [("user", "a"), ("assistant", "one"), ("user", "c")]
    assert [turn["content"] for turn in kept("lamp")] == ["a", "one", "c", "three"]


@pytest.mark.parametrize("command", ["/undo", "/retry"])
def test_commands_about_the_last_question_need_one(cli, command):
    done = cli("chat", "--mock", stdin=f"{command}\n")
    assert (done.code, done.err) == (2, "error: the conversation has no question yet\n  hint: ask one first\n")


def test_conversation_is_saved_as_markdown(cli, folder):
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cli("chat", "--mock", "-s", "a.png", stdin="Who?\n/save talk.md\n")
    assert (folder / "talk.md").read_text() == "## user\n\n* a.png\n\nWho?\n\n## assistant\n\necho: Who?\n"


def test_saving_replaces_no_file(cli, folder):
    (folder / "talk.md").write_text("mine")
    done = cli("chat", "--mock", stdin="Who?\n/save talk.md\n")
    assert (done.code, "cannot save to talk.md: File exists" in done.err) == (1, True)
    assert (folder / "talk.md").read_text() == "mine"


def test_saving_needs_a_file(cli):
    assert "/save needs a file" in cli("chat", "--mock", stdin="/save\n").err


def test_quit_ends_the_chat(cli):
    assert cli("chat", "--mock", stdin="a\n/quit\nb\n").out == "echo: a\n"


def test_help_lists_the_commands(cli):
    err = cli("chat", "--mock", stdin="/help\n").err
    assert "  /sources FILE...  add sources to the next question\n" in err


def test_unknown_command_is_refused_with_a_near_one(cli):
    done = cli("chat", "--mock", stdin="/retri\n")
    assert done.code == 2
    assert "no command of a chat is called /retri\n  hint: did you mean 'retry'?" in done.err


# failures


def test_mistake_before_the_first_question_has_the_code_of_bad_usage(cli):
    assert [cli("chat", "--mock", stdin=text).code for text in ("/nope\n", "a\n/nope\n")] == [2, 1]


def test_closed_standard_input_ends_the_chat(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["chat", "--mock", "a"]) == 0
    assert capsys.readouterr().out == "echo: a\n"


def test_error_ends_a_chat_in_a_pipe(cli, local, server):
    server.reply(Answer(status=400, json={"error": {"message": "no"}}))
    done = cli("chat", *local, stdin="a\nb\n")
    assert (done.code, len(server.requests)) == (1, 1)
    assert "no" in done.err


def test_answer_that_does_not_fit_its_schema_fails_the_chat(cli, local, server):
    server.reply(build_stream("no JSON"))
    done = cli("chat", *local, "--schema", "name str", stdin="a\n")
    assert (done.code, "does not fit --schema" in done.err) == (1, True)


# at a terminal


@pytest.fixture
def terminal(start):
    """Return a function that starts a chat at a pseudo-terminal, and returns the process and the terminal."""
    ends = []

    def terminal(*words, **settings):
        ours, theirs = pty.openpty()
        ends.append(ours)
        process = start("chat", *words, **{"stdin": theirs, "stdout": theirs, "stderr": theirs} | settings)
        os.close(theirs)
        return process, Terminal(ours)

    yield terminal
    for end in ends:
        os.close(end)


class Terminal:
    def __init__(self, end):
        self.end, self.text = end, ""

    def type(self, text):
        os.write(self.end, text.encode())

    def read(self, timeout_s):
        """Read what comes within so many seconds. Return whether anything came."""
        has_come = bool(select.select([self.end], [], [], timeout_s)[0])
        if has_come:
            self.text += os.read(self.end, 4096).decode()
        return has_come

    def wait_for(self, text):
        """Read until the text appears, and forget what came before its end."""
        while text not in self.text:
            assert self.read(30), self.text
        before, _, self.text = self.text.partition(text)
        return before


def test_terminal_shows_a_prompt_and_goes_on_after_an_error(terminal):
    process, screen = terminal("--mock")
    screen.wait_for("> ")
    screen.type("/nothing\n")
    screen.wait_for("no command of a chat is called /nothing")
    screen.type("Who?\n")
    screen.wait_for("echo: Who?")
    screen.wait_for("> ")
    screen.type("\x04")
    screen.wait_for("1 answer; tokens: 10 in, 10 out")
    assert process.wait(30) == 0


def test_ctrl_c_keeps_the_answer_so_far_and_the_second_one_leaves(terminal, local, server, kept):
    server.reply(HALF, build_stream("two"))
    process, screen = terminal(*local, "--conversation", "lamp")
    screen.wait_for("> ")
    screen.type("a\n")
    screen.wait_for("one ")
    process.send_signal(signal.SIGINT)
    screen.wait_for("> ")
    screen.type("b\n")
    screen.wait_for("two")
    screen.wait_for("> ")
    # A signal in the moment between the prompt and the wait for a line is noticed with the next one.
    while process.poll() is None and "interrupted" not in screen.text:
        process.send_signal(signal.SIGINT)
        screen.read(1.0)
    screen.wait_for("interrupted")
    assert process.wait(30) == 130
    assert list_messages(server.requests[1]) == [("user", "a"), ("assistant", "one "), ("user", "b")]
    assert [turn["content"] for turn in kept("lamp")] == ["a", "one ", "b", "two"]


def test_question_without_an_answer_can_be_asked_again(terminal, local, server, folder):
    (folder / "notes.md").write_text(TEXT)
    server.reply(Answer(status=400, json={"error": {"message": "not now"}}), build_stream("two"))
    _, screen = terminal(*local, "-s", "notes.md")
    screen.wait_for("> ")
    screen.type("Who?\n")
    screen.wait_for("not now")
    screen.type("/retry\n")
    screen.wait_for("two")
    assert list_messages(server.requests[0]) == list_messages(server.requests[1])


def test_question_that_failed_can_be_forgotten(terminal, local, server):
    server.reply(Answer(status=400, json={"error": {"message": "not now"}}), build_stream("two"))
    _, screen = terminal(*local, "a")
    screen.wait_for("not now")
    screen.type("/undo\n")
    screen.wait_for("the last question is forgotten")
    screen.type("b\n")
    screen.wait_for("two")
    assert list_messages(server.requests[1]) == [("user", "b")]


def test_answers_go_to_a_file_without_the_prompt(terminal, tmp_path):
    with (tmp_path / "answers").open("w") as file:
        process, screen = terminal("--mock", stdout=file)
        screen.wait_for("> ")
        screen.type("Who?\n")
        screen.wait_for("> ")
        screen.type("/quit\n")
        assert process.wait(30) == 0
    assert (tmp_path / "answers").read_text() == "echo: Who?\n"


def test_sigterm_keeps_the_answer_so_far(start, local, server, kept):
    server.reply(HALF)
    process = start("chat", *local, "--conversation", "lamp", "a", stdin=subprocess.PIPE)
    assert process.stdout.read(4) == "one "
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert [turn["content"] for turn in kept("lamp")] == ["a", "one "]
