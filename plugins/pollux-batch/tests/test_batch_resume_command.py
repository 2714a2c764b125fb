import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bulk_service import echo
from pollux_batch import JournalError, run_batch
from pollux_batch.cli import main
from pollux_batch.recording import Command, read_command, record_command
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError
from pollux_sync.testing.server import Hang

CONFIG = Config(provider="any", model="any", use_mock=True)
RUN = ("in.csv", "-j", "j.db", "--mock", "--prompt", "text", "--id", "key")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with an input of two items."""
    monkeypatch.chdir(tmp_path)
    for name in ("POLLUX_SYNC_PROVIDER", "POLLUX_SYNC_MODEL", "POLLUX_SYNC_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "in.csv").write_text("key,text\n1,Hello\n2,Bye\n")
    return tmp_path


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def stop_early(*more):
    """Run until a budget ends it with nothing answered."""
    assert main(["run", *RUN, "--workers", "1", "--budget-tokens", "0", *more]) == 3


def change_command(**arguments):
    command = read_command("j.db")
    with sqlite3.connect("j.db") as database:
        database.execute("UPDATE commands SET arguments = ?", [json.dumps({**command.arguments, **arguments})])
    database.close()


def test_goes_on_with_the_arguments_of_the_run(capsys):
    stop_early("--out", "out.jsonl", "--temperature", "0", "--system", "Be brief.")
    change_command(budget_tokens=None)
    assert main(["resume", "j.db"]) == 0
    assert [(row["key"], row["output"]) for row in read_lines("out.jsonl")] == [
        ("1", "echo: Hello"),
        ("2", "echo: Bye"),
    ]
    told = capsys.readouterr().err
    assert "going on with: in.csv" in told
    assert "system_instruction='Be brief.'" in told
    assert "temperature=0.0" in told


def test_keeps_a_limit_of_zero():
    stop_early()
    assert main(["resume", "j.db", "--quiet"]) == 3


def test_pays_for_nothing_twice(capsys):
    main(["run", *RUN])
    assert main(["resume", "j.db", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["answered"], summary["replayed"], summary["input_tokens"]) == (2, 2, 0)


def test_goes_on_from_another_folder_and_after_the_folder_was_moved(folder, monkeypatch):
    (folder / "job").mkdir()
    (folder / "in.csv").rename(folder / "job" / "in.csv")
    schema = {"type": "object", "properties": {"tone": {"type": "string"}}, "required": ["tone"]}
    (folder / "job" / "schema.json").write_text(json.dumps(schema))
    words = (
        "run job/in.csv -j job/j.db --mock --prompt text --schema job/schema.json --out job/out.jsonl --budget-tokens 0"
    )
    assert main([*words.split(), "--budget-tokens", "0"]) == 3
    (folder / "job").rename(folder / "moved")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    with sqlite3.connect("../moved/j.db") as database:
        database.execute("UPDATE commands SET arguments = json_remove(arguments, '$.budget_tokens')")
    database.close()
    assert main(["resume", "../moved/j.db"]) == 0
    assert len(read_lines(folder / "moved" / "out.jsonl")) == 2


def test_keeps_the_provider_that_the_environment_named(monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "mock")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "mock")
    main(["run", "in.csv", "-j", "j.db", "--prompt", "text"])
    monkeypatch.delenv("POLLUX_SYNC_PROVIDER")
    monkeypatch.delenv("POLLUX_SYNC_MODEL")
    assert main(["resume", "j.db"]) == 0


def test_keeps_no_key(folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    main(["run", "in.csv", "-j", "j.db", "--prompt", "text", "-p", "openai", "-m", "m", "--mock"])
    assert all(b"sk-very-secret" not in path.read_bytes() for path in folder.glob("j.db*"))
    assert "api_key" not in read_command("j.db").arguments


def test_asks_with_the_arguments_of_the_last_run():
    main(["run", *RUN])
    main(["run", *RUN, "--out", "out.jsonl"])
    assert read_command("j.db").arguments["out"] == "out.jsonl"


def test_overwrites_the_output_only_if_asked():
    main(["run", *RUN, "--out", "out.jsonl"])
    with pytest.raises(ConfigurationError, match="exists already"):
        main(["resume", "j.db"])
    assert main(["resume", "j.db", "--overwrite"]) == 0


def test_refuses_an_input_that_is_gone(folder):
    main(["run", *RUN])
    (folder / "in.csv").unlink()
    with pytest.raises(ConfigurationError, match=r"the input 'in.csv', .* is gone") as caught:
        main(["resume", "j.db", "--changed-input"])
    assert caught.value.hint.startswith("put it back")


def test_refuses_an_input_that_has_changed_unless_told(folder):
    main(["run", *RUN, "--out", "out.jsonl"])
    (folder / "in.csv").write_text("key,text\n1,Hello\n3,New\n")
    for more in ([], ["--explain"]):
        with pytest.raises(ConfigurationError, match=r"the input 'in\.csv' has changed") as caught:
            main(["resume", "j.db", *more])
        assert "--changed-input" in caught.value.hint
    assert main(["resume", "j.db", "--changed-input", "--overwrite"]) == 0
    assert [row["output"] for row in read_lines("out.jsonl")] == ["echo: Hello", "echo: New"]
    assert main(["resume", "j.db", "--overwrite"]) == 0


def test_refuses_a_schema_that_has_changed(folder):
    (folder / "schema.json").write_text('{"type": "object"}')
    main(["run", *RUN, "--schema", "schema.json"])
    (folder / "schema.json").write_text('{"type": "array"}')
    with pytest.raises(ConfigurationError, match=r"the schema 'schema\.json' has changed") as caught:
        main(["resume", "j.db", "--changed-input"])
    assert caught.value.hint.startswith("put the old content back")


def test_refuses_the_journal_of_a_script():
    run_batch(["Hello"], config=CONFIG, journal="j.db")
    with pytest.raises(ConfigurationError, match="was begun by a script") as caught:
        main(["resume", "j.db"])
    assert caught.value.hint == "run the script again: it goes on where it stopped"


def test_refuses_an_argument_that_this_release_does_not_know():
    main(["run", *RUN])
    change_command(speed=3)
    with pytest.raises(ConfigurationError, match="an argument 'speed', which this release does not know"):
        main(["resume", "j.db"])


def test_explain_shows_what_is_left_and_sends_nothing(capsys):
    stop_early()
    assert main(["resume", "j.db", "--explain"]) == 0
    told = capsys.readouterr().out
    assert "last run   budget_exceeded\nin flight  0\nitems      2\n" in told
    assert "to send    2\n" in told
    assert main(["resume", "j.db", "--explain", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["in_flight"], found["plan"]["to_send"]) == ([], 2)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_goes_on_after_a_kill_and_names_what_was_in_flight(folder, server, capsys):
    (folder / "many.jsonl").write_text("".join(f'{{"prompt": "p{number}"}}\n' for number in range(60)))
    server.handler = lambda request: echo(request) if len(server.requests) <= 40 else Hang()
    words = f"run many.jsonl -j j.db -p local -m m --base-url {server.url}/v1 --workers 5 --out out.jsonl"
    code = f"from pollux_batch.cli import main; main({words.split()!r})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=os.environ) as process:
        server.wait_for_requests(41)
        process.kill()
    main(["resume", "j.db", "--explain", "--json"])
    found = json.loads(capsys.readouterr().out)
    hung = {f"row_{int(prompt[1:]) + 1}" for prompt in server.prompts[40:]}
    assert hung <= {*found["in_flight"]}
    assert found["plan"]["to_send"] == 60 - found["plan"]["answered"]
    server.handler = echo
    assert main(["resume", "j.db", "--quiet"]) == 0
    assert len(read_lines("out.jsonl")) == 60
    assert len(server.requests) <= 60 + 5


def test_says_so_where_a_command_cannot_be_kept(folder):
    main(["run", *RUN])
    with sqlite3.connect("j.db") as database:
        database.execute("DROP TABLE commands")
        database.execute("CREATE VIEW commands AS SELECT 1")
    database.close()
    with pytest.raises(JournalError, match="cannot be written"):
        record_command(Path("j.db"), Command(arguments={}, digests={}))
