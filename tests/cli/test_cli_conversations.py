import errno
import json
import stat

import pytest

from pollux_sync import ConfigurationError, Options
from pollux_sync.cli.conversations import Conversation
from pollux_sync.cli.folders import locate_settings_folder, locate_state_folder

USER, ANSWER = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}


@pytest.fixture
def kept(state):
    """Return a function that reads the kept conversation of a name."""
    return lambda name: json.loads((state / "conversations" / f"{name}.json").read_text())


def list_roles(conversation):
    return [turn["role"] for turn in conversation["turns"]]


# folders


def test_folders_are_those_of_the_xdg_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "b"))
    assert locate_state_folder() == tmp_path / "a" / "pollux-sync"
    assert locate_settings_folder() == tmp_path / "b" / "pollux-sync"


@pytest.mark.parametrize("chosen", ["", "relative"])
def test_folders_are_in_the_home_without_an_absolute_path(monkeypatch, tmp_path, chosen):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", chosen)
    assert locate_state_folder() == tmp_path / ".local" / "state" / "pollux-sync"


# run


def test_run_continues_a_named_conversation(cli, kept):
    cli("run", "--mock", "--conversation", "lamp", "Who?")
    assert cli("run", "--conversation", "lamp", "When?").out == "echo: When?\n"
    assert list_roles(kept("lamp")) == ["user", "assistant", "user", "assistant"]


def test_run_continues_the_last_conversation_of_the_working_directory(cli, kept, folder, monkeypatch):
    cli("run", "--mock", "--conversation", "here", "Who?")
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    cli("run", "--mock", "--conversation", "there", "Who?")
    monkeypatch.chdir(folder)
    assert cli("run", "-c", "When?").code == 0
    assert (len(kept("here")["turns"]), len(kept("there")["turns"])) == (4, 2)


def test_run_keeps_a_streamed_answer(cli, kept):
    cli("run", "--mock", "--conversation", "lamp", "--stream", "Who?")
    assert kept("lamp")["turns"][1]["content"] == "echo: Who?"


def test_plain_run_keeps_nothing(cli, state):
    cli("run", "--mock", "Who?")
    assert not state.exists()


def test_nothing_to_continue_is_refused(cli):
    done = cli("run", "--mock", "-c", "Who?")
    assert done.code == 2
    assert done.err.startswith("error: no conversation was held in this working directory\n  hint: begin one")


@pytest.mark.parametrize("words", [("a", "b"), ("a", "--per-source", "-s", "notes.md")])
def test_several_prompts_are_refused(cli, folder, words):
    (folder / "notes.md").write_text("text")
    done = cli("run", "--mock", "--conversation", "lamp", *words)
    assert (done.code, "takes one prompt at a time" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["../lamp", ".lamp", "", "a/b", "a" * 101])
def test_name_that_is_no_file_name_is_refused(cli, name):
    done = cli("run", "--mock", "--conversation", name, "Who?")
    assert (done.code, "cannot be the name of a conversation" in done.err) == (2, True)


def test_conversation_goes_on_with_its_provider_model_and_instruction(cli):
    cli("run", "--mock", "-p", "local", "-m", "small", "--system", "Be brief.", "--conversation", "lamp", "Who?")
    explained = json.loads(cli("run", "-c", "When?", "--mock", "--explain", "--json").out)
    assert (explained["provider"], explained["model"]) == ("local", "small")
    assert "Be brief." in json.dumps(explained)


def test_arguments_take_the_place_of_what_was_kept(cli, kept):
    cli("run", "--mock", "--system", "Be brief.", "--conversation", "lamp", "Who?")
    cli("run", "--mock", "-m", "other", "--system", "Be kind.", "-c", "When?")
    assert (kept("lamp")["model"], kept("lamp")["system"]) == ("other", "Be kind.")


def test_file_can_be_read_by_its_owner_alone_and_has_no_key(cli, state, acme):
    path = state / "conversations" / "lamp.json"
    cli("run", "--mock", "-p", "acme", "-m", "m", "--conversation", "lamp", "Who?")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "sk-secret" not in path.read_text()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "turns": [], "mood": 1}', '{"version": "1"}'])
def test_damaged_file_is_refused(cli, state, content):
    cli("run", "--mock", "--conversation", "lamp", "Who?")
    (state / "conversations" / "lamp.json").write_text(content)
    done = cli("run", "--mock", "--conversation", "lamp", "Who?")
    assert (done.code, "cannot be read" in done.err, "hint: delete the file" in done.err) == (2, True, True)


def test_file_of_a_newer_release_is_refused(cli, state):
    (state / "conversations").mkdir(parents=True)
    (state / "conversations" / "lamp.json").write_text('{"version": 2}')
    assert "written by a newer pollux-sync" in cli("run", "--mock", "--conversation", "lamp", "Who?").err


def test_folder_that_cannot_be_made_is_reported_before_anything_is_asked(cli, state):
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("a file in its place")
    done = cli("run", "--mock", "--conversation", "lamp", "Who?")
    assert (done.code, done.out, "set XDG_STATE_HOME" in done.err) == (2, "", True)


def test_answer_is_printed_although_it_cannot_be_kept(cli, state, monkeypatch):
    def refuse(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pollux_sync.cli.conversations.write_atomically", refuse)
    done = cli("run", "--mock", "--conversation", "lamp", "Who?")
    assert (done.code, done.out) == (1, "echo: Who?\n")
    assert "was not kept in" in done.err


def test_continuing_and_a_name_exclude_each_other(cli):
    assert cli("run", "--mock", "-c", "--conversation", "lamp", "Who?").code == 2


# turns


def test_another_provider_gets_the_turns_without_what_only_the_first_understands():
    answer = ANSWER | {"provider_state": {"signature": "x"}}
    options = Conversation(name="n", provider="a", turns=(USER, answer)).add_to(Options(), "b")
    assert (options.continue_from, options.history) == (None, [USER, ANSWER])


def test_same_provider_gets_the_whole_state():
    answer = ANSWER | {"provider_state": {"signature": "x"}}
    talk = Conversation(name="n", provider="a", turns=(USER, answer), response_id="r1")
    state = talk.add_to(Options(), "a").continue_from["_conversation_state"]
    assert (state["response_id"], state["provider_state"]) == ("r1", {"signature": "x"})


def test_cut_conversation_is_not_continued_from_the_copy_of_the_provider():
    talk = Conversation(name="n", provider="a", turns=(USER, ANSWER), response_id="r1")
    assert (talk.drop_answer().turns, talk.drop_answer().response_id) == ((USER,), None)
    assert talk.drop_question().turns == ()
    with pytest.raises(ConfigurationError, match="no question yet"):
        talk.drop_question().drop_question()
