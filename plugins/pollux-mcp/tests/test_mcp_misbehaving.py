"""Servers that hang, die, flood, lie, and leave children behind."""

import logging
import os
import resource
import signal
import sys
import threading
import time

import pytest

from mcp_processes import find_child, is_running
from pollux_mcp import MCPError, MCPServer, MCPToolError
from pollux_sync import Config, Reply, ToolCall, run_tools
from pollux_sync.testing import Script


@pytest.fixture
def call(open_server):
    """Calls the tool of a server that misbehaves."""

    def call(way, **settings):
        (tool,) = open_server(way, **settings).tools()
        return tool.invoke({})

    return call


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("hangs", r"no answer within 1 s"),
        ("dies", r"the server did not answer: "),
        ("lies", r"the server did not answer: "),
        ("fails", r"the server did not answer: MCPError: out of oil"),
    ],
)
def test_failure_is_told_to_the_model(call, way, message):
    with pytest.raises(MCPToolError, match=message):
        call(way, call_timeout_s=1.0)


@pytest.mark.parametrize("way", ["notifies", "shouts", "babbles"])
def test_noise_changes_no_answer(call, way):
    assert call(way, call_timeout_s=20.0) == "done"


def test_server_is_told_that_a_call_is_given_up(call, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(MCPToolError, match="no answer"):
        call("never answers", call_timeout_s=0.3, env={"MARK": str(mark)})
    deadline = time.monotonic() + 5
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mark.read_text() == "cancelled"


def test_endless_line_ends_the_connection_and_takes_no_memory(call, caplog):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with caplog.at_level(logging.WARNING, "pollux_sync.mcp"), pytest.raises(MCPToolError):
        call("floods", call_timeout_s=20.0)
    assert "more than 32000000 bytes" in caplog.text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # in kB


def test_server_that_died_is_told_at_each_call_and_ends_no_loop(open_server):
    calls = [Reply(tool_calls=(ToolCall(f"c{n}", "f", "{}"),), finish_reason="tool_calls") for n in range(2)]
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(*calls, "I give up.")])
    result = run_tools("hi", tools=open_server("dies").tools(), config=config)
    runs = [run for step in result["diagnostics"]["steps"] for run in step["tool_runs"]]
    assert [run["is_error"] for run in runs] == [True, True]
    assert result["answers"] == ["I give up."]


def test_schemas_that_cannot_be_used_leave_their_tools_out(open_server, caplog):
    with caplog.at_level(logging.WARNING, "pollux_sync.mcp"):
        tools = open_server("bad schemas").tools()
    assert [tool.name for tool in tools] == ["f", "bomb"]  # of references that are not followed
    left_out = [record.args[0] for record in caplog.records if "left out" in record.msg]
    assert left_out == ["dangling ref", "far ref", "huge"]


def test_list_that_breaks_the_protocol_is_refused(open_server):
    with pytest.raises(MCPError, match="cannot list its tools: ValidationError"):
        open_server("no schema").tools()


def test_too_many_tools_are_refused_with_a_way_out(open_server):
    with pytest.raises(MCPError, match="300 tools") as caught:
        open_server("many tools").tools()
    assert "only=" in caught.value.hint
    assert len(open_server("many tools", only=["t7"]).tools()) == 1


def test_server_that_never_starts(open_server):
    started = time.monotonic()
    with pytest.raises(MCPError, match="cannot be opened in time"):
        open_server("never starts", start_timeout_s=0.5)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("target", "args"), [("no-such-command-anywhere", []), (sys.executable, ["-c", "import sys; sys.exit('no')"])]
)
def test_server_that_cannot_start_is_named(target, args):
    with pytest.raises(MCPError, match="cannot be opened") as caught:
        MCPServer(target, args, start_timeout_s=10.0).open()
    assert caught.value.hint


def test_process_gets_no_keys(call, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    names = call("environment", env={"HARBOUR": "Verran"}).split()
    assert "HARBOUR" in names
    assert "PATH" in names
    assert "OPENAI_API_KEY" not in names


def test_child_of_a_server_that_ignores_sigterm_is_ended_too(open_server):
    server = open_server("stays")
    mark = f"time.sleep(60)  # {find_child('stays')}"
    assert is_running(mark)
    started = time.monotonic()
    server.close()
    assert time.monotonic() - started < 10
    deadline = time.monotonic() + 2
    while is_running(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(mark)


def test_ctrl_c_ends_the_call_and_the_server_can_be_closed(open_server):
    (tool,) = open_server("hangs").tools()
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        tool.invoke({})
    assert time.monotonic() - started < 5
