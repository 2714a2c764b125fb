"""Servers that misbehave, time limits, cancellation, and the ends of processes and threads."""

import copy
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from mcp_servers import OfficialServer, build_model, call, find, is_running, list_children, read_tool_turns, wait_until
from pollux_mcp import Limits, MCPServer, MCPServerError
from pollux_sync import ToolFailure, run_tools

SECRET = "sk-123456789"


def read_messages(log, method):
    return [one for one in map(json.loads, log.read_text().splitlines()) if one.get("method") == method]


# Start


def test_names_a_program_that_there_is_not():
    with (
        pytest.raises(MCPServerError, match="'no-such-program' cannot be started") as caught,
        MCPServer("no-such-program"),
    ):
        pass
    assert caught.value.hint == "install the program, or pass its whole path"


def test_shows_what_a_server_wrote_that_ended_at_once(scripted):
    with pytest.raises(MCPServerError, match="cannot be started") as caught, scripted("exit", env={"API_KEY": SECRET}):
        pass
    assert caught.value.stderr == ("no configuration; the key is [REDACTED]",)
    assert "no configuration" in caught.value.hint
    copied = copy.copy(caught.value)
    assert (copied.server, copied.stderr) == ("scripted", caught.value.stderr)


def test_limits_the_time_of_the_start(scripted):
    with pytest.raises(MCPServerError, match=r"did not start within 0\.3 s"), scripted("silent", start_timeout_s=0.3):
        pass


def test_ends_a_start_on_ctrl_c(scripted, log):
    def interrupt():
        wait_until(log.exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), scripted("silent"):
        pass


def test_names_an_address_where_nobody_answers():
    with (
        pytest.raises(MCPServerError, match=r"'127\.0\.0\.1' cannot be reached"),
        MCPServer(url="http://127.0.0.1:9/mcp"),
    ):
        pass


def test_shows_the_status_of_a_server_that_refuses(official):
    with pytest.raises(MCPServerError, match="it answered with status 404"), MCPServer(url=f"{official}/elsewhere"):
        pass


def test_reads_past_what_is_no_message(scripted):
    with scripted("noisy") as server:
        assert find(server, "echo").invoke({"text": "x"}) == "echo x"


# Calls that do not end well


def test_limits_the_time_of_the_list_of_tools(scripted):
    with (
        scripted("unlisted", start_timeout_s=0.5) as server,
        pytest.raises(MCPServerError, match="did not list its tools"),
    ):
        server.tools()


def test_names_a_server_that_died_when_its_tools_are_listed(scripted):
    with scripted() as server:
        with pytest.raises(MCPServerError):
            find(server, "die").invoke({})
        with pytest.raises(MCPServerError, match=r"did not list its tools: .*: it ended with status 3"):
            server.tools()


def test_limits_the_time_of_a_call_and_tells_the_server(scripted, log):
    with scripted(call_timeout_s=0.3) as server:
        failure = find(server, "hang").invoke({})
        assert isinstance(failure, ToolFailure)
        assert failure.result == "the call had no result within 0.3 s and was cancelled"
        (asked,) = read_messages(log, "tools/call")
        assert wait_until(lambda: read_messages(log, "notifications/cancelled"))
        assert read_messages(log, "notifications/cancelled")[0]["params"]["requestId"] == asked["id"]
        assert find(server, "echo").invoke({"text": "x"}) == "echo x"


def test_tells_the_server_of_ctrl_c(scripted, log):
    def interrupt():
        wait_until(lambda: log.exists() and read_messages(log, "tools/call"))
        os.kill(os.getpid(), signal.SIGINT)

    with scripted() as server:
        tool = find(server, "hang")
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            tool.invoke({})
        assert wait_until(lambda: read_messages(log, "notifications/cancelled"))


def test_cancels_calls_of_other_threads_when_it_is_closed(scripted, log):
    caught = []

    def wait_for_ever(tool):
        try:
            tool.invoke({})
        except MCPServerError as error:
            caught.append(error)

    with scripted() as server:
        thread = threading.Thread(target=wait_for_ever, args=(find(server, "hang"),))
        thread.start()
        wait_until(lambda: read_messages(log, "tools/call"))
    thread.join()
    assert "was closed" in str(caught[0])
    assert read_messages(log, "notifications/cancelled")


@pytest.mark.parametrize("tool", ["die", "endless", "unread"])
def test_ends_run_tools_with_the_error_of_a_server_that_died(scripted, tool):
    script, config = build_model(call(tool), "never")
    limits = Limits(max_message_bytes=100_000)
    with scripted(limits=limits) as server, pytest.raises(MCPServerError, match="has ended: it ") as caught:
        run_tools("?", tools=server.tools(), config=config, on_tool_error="raise")
    assert caught.value.partial_result["diagnostics"]["steps"]
    assert len(script.requests) == 1


def test_tells_the_model_that_a_server_died(scripted):
    script, config = build_model(call("die"), call("echo"), "Sorry.")
    with scripted() as server:
        result = run_tools("?", tools=server.tools(), config=config)
    assert result["answers"] == ["Sorry."]
    turns = read_tool_turns(script)
    assert [turn["is_error"] for turn in turns] == [True, True]
    assert all("MCP server 'scripted' has ended: it ended with status 3" in turn["content"] for turn in turns)


def test_speaks_in_sessions_with_an_older_server_over_http_until_it_has_gone():
    running = OfficialServer("legacy")
    with running as url:
        with MCPServer(url=url, call_timeout_s=0.5) as server:
            tool, cancelled = find(server, "add"), find(server, "list_cancelled")
            assert tool.invoke({"a": 1, "b": 2}) == "3"
            assert "cancelled" in find(server, "wait").invoke({}).result
            assert wait_until(lambda: cancelled.invoke({}) == "wait")
        with MCPServer(url=url) as server:
            assert "DELETE" in find(server, "list_requests").invoke({})
            tool = find(server, "add")
            running.process.kill()
            with pytest.raises(MCPServerError, match=r"'127\.0\.0\.1' has ended"):
                tool.invoke({"a": 1, "b": 2})


def test_limits_the_time_of_a_call_over_http_and_tells_the_server(official):
    with MCPServer(url=official, call_timeout_s=0.3) as server:
        assert "cancelled" in find(server, "wait").invoke({}).result
        cancelled = find(server, "list_cancelled")
        assert wait_until(lambda: cancelled.invoke({}) == "wait")


def test_limits_the_size_of_an_answer_over_http(official):
    with MCPServer(url=official, limits=Limits(max_message_bytes=50_000)) as server:
        tool = find(server, "repeat")
        assert "the answer has more than 50000 bytes" in tool.invoke({"n": 1_000_000}).result
        assert tool.invoke({"n": 3}) == "xxx"


@pytest.mark.parametrize("tool", ["flood", "flood_stderr"])
def test_keeps_memory_small_in_a_flood(scripted, tool):
    with scripted(limits=Limits(max_message_bytes=1_000_000)) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert find(server, tool).invoke({"text": "over"}) == f"{tool} over"
        # Kilobytes on Linux. Each flood has 20 megabytes.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 12_000


# Secrets and logs


def test_logs_what_a_server_writes_without_secrets(scripted, caplog):
    caplog.set_level(logging.INFO, "pollux_mcp")
    with scripted(env={"API_KEY": SECRET}) as server:
        with pytest.raises(MCPServerError) as caught:
            find(server, "die").invoke({})
        assert wait_until(lambda: "scripted: out of memory" in caplog.text)
        assert SECRET not in f"{server!r} {caught.value!r} {caplog.text}"


def test_logs_no_header_and_no_query(official, caplog):
    caplog.set_level(logging.DEBUG)
    with MCPServer(url=f"{official}?key={SECRET}", headers={"Authorization": f"Bearer {SECRET}-h"}) as server:
        assert find(server, "add").invoke({"a": 1, "b": 2}) == "3"
        assert SECRET not in repr(server)
    assert "HTTP Request" in caplog.text
    assert SECRET not in caplog.text
    assert "session ID" not in caplog.text


# Processes and threads


def test_leaves_nothing_after_an_exception(scripted):
    before = list_children()
    with pytest.raises(LookupError), scripted():
        raise LookupError(*(list_children() - before))
    assert list_children() == before
    assert "pollux-mcp" not in {thread.name for thread in threading.enumerate()}


def test_runs_no_event_loop_in_the_callers_thread(scripted):
    import asyncio

    with scripted() as server:
        find(server, "echo").invoke({"text": "x"})
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        assert sum(thread.name == "pollux-mcp" for thread in threading.enumerate()) == 1


def test_shares_one_thread_between_servers(scripted, official):
    with scripted(), scripted(), MCPServer(url=official):
        assert sum(thread.name == "pollux-mcp" for thread in threading.enumerate()) == 1


def test_works_inside_a_running_event_loop(scripted):
    import asyncio

    async def use():
        with scripted() as server:
            return find(server, "echo").invoke({"text": "x"})

    assert asyncio.run(use()) == "echo x"


@pytest.mark.parametrize("mode", ["parent", "stubborn"])
def test_kills_the_whole_group_after_its_time_of_grace(scripted, log, mode):
    with scripted(mode):
        child = int(log.with_name("log.child").read_text())
        assert is_running(child)
    assert not is_running(child)


PROGRAM = """
import sys
from pollux_mcp import MCPServer
server = MCPServer(sys.executable, ["-S", sys.argv[1]], env={"MCP_LOG": sys.argv[2]}, name="one").__enter__()
assert len(server.tools()) > 5
"""


def run_program(log, code=""):
    from mcp_servers import SCRIPTED

    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + code, SCRIPTED, str(log)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_ends_its_servers_at_the_end_of_the_interpreter(log):
    done = run_program(log, "print(server._connection._log.name)")
    assert (done.returncode, done.stderr) == (0, "")
    # The server reads to the end, so that its last message is there.
    assert read_messages(log, "tools/list")


def test_refuses_a_forked_child_with_a_clear_error(log):
    done = run_program(
        log,
        """
import os
tool = server.tools()[-1]
if os.fork() == 0:
    for use in (server.tools, lambda: tool.invoke({})):
        try:
            use()
        except Exception as error:
            print(type(error).__name__, error)
    with MCPServer(sys.executable, ["-S", sys.argv[1]], env={"MCP_LOG": sys.argv[2]}, name="one") as other:
        print(len(other.tools()) > 5)
    sys.exit()
os.wait()
print(len(server.tools()) > 5)
""",
    )
    assert (done.returncode, done.stderr) == (0, "")
    refusal = "ConfigurationError the MCP server 'one' belongs to another process\n  hint: open one in each process\n"
    assert done.stdout == f"{refusal * 2}True\nTrue\n"
