"""Tools of servers that behave, over stdio and over HTTP."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcp_processes import SERVERS, SHARED, is_running
from pollux_mcp import MCPServer, MCPToolError, ToolRequest
from pollux_sync import Config, ConfigurationError, Reply, Session, ToolCall, run_tools, stream_tools
from pollux_sync.testing import Script


@pytest.fixture(params=["stdio", "http"], scope="module")
def server(request):
    """A server of the official package, which the tests of this module share."""
    if request.param == "stdio":
        target, args = sys.executable, [str(SERVERS / "good_server.py"), SHARED]
    else:
        target, args = request.getfixturevalue("address"), []
    with MCPServer(target, args) as server:
        yield server


@pytest.fixture
def tools(server):
    return {tool.name: tool for tool in server.tools()}


def calling(name, **arguments):
    return Reply(tool_calls=(ToolCall("c1", name, json.dumps(arguments)),), finish_reason="tool_calls")


def ask(*answers):
    return Config(provider="openai", model="m", use_mock=True, plugins=[Script(*answers)])


def test_tools_have_names_descriptions_and_schemas(tools):
    assert sorted(tools) == ["burn", "count", "dotted_name_with_spaces", "long_text", "picture", "wait", "weather"]
    assert tools["count"].description == "How many of an article are in stock."
    assert tools["count"].parameters["properties"]["article"]["type"] == "string"


def test_results_are_text_data_and_files(tools):
    assert tools["count"].invoke({"article": "lamp"}) == "3"
    assert json.loads(tools["weather"].invoke({"city": "Oslo"})) == {"city": "Oslo", "sky": "blue"}
    picture = tools["picture"].invoke({})
    assert (picture.mime_type, picture.identifier, picture.load()[:4]) == ("image/png", "result-1.png", b"\x89PNG")
    assert tools["dotted_name_with_spaces"].invoke({}) == "dots"


def test_error_of_a_tool_is_told_to_the_model(server):
    config = ask(calling("count", article="sofa"), "No sofa.")
    result = run_tools("Sofas?", tools=server.tools(), config=config)
    (run,) = result["diagnostics"]["steps"][0]["tool_runs"]
    assert (run["is_error"], run["content"][:13]) == (True, "MCPToolError:")
    assert result["answers"] == ["No sofa."]


def test_loop_session_and_stream_call_them(server):
    answers = (calling("count", article="lamp"), "Three.")
    tools = server.tools()
    assert run_tools("Lamps?", tools=tools, config=ask(*answers))["answers"] == ["Three."]
    with Session(config=ask(*answers)) as session:
        assert session.run_tools("Lamps?", tools=tools)["answers"] == ["Three."]
    events = list(stream_tools("Lamps?", tools=tools, config=ask(*answers)))
    assert [event.run["content"] for event in events if event.type == "tool_result"] == ["3"]


def test_picture_reaches_the_model(server):
    config = ask(calling("picture"), "A lighthouse.")
    run_tools("What is it?", tools=server.tools(), config=config)
    (turn,) = [turn for turn in config.plugins[0].requests[1]["history"] if turn["role"] == "tool"]
    assert "result-1.png" in turn["content"]


def test_50_calls_at_once(tools):
    started = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(lambda _: tools["count"].invoke({"article": "lamp"}), range(50)))
    assert results == ["3"] * 50
    assert time.monotonic() - started < 30


def test_no_event_loop_is_in_the_thread_of_the_caller(tools):
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert tools["count"].invoke({"article": "lamp"}) == "3"

    async def inside():
        # A caller may have a loop of its own.
        return tools["count"].invoke({"article": "lamp"})

    assert asyncio.run(inside()) == "3"


def test_call_that_takes_too_long_is_ended_and_the_next_one_works(address):
    with MCPServer(address, call_timeout_s=0.5) as server:
        _check_time_limit({tool.name: tool for tool in server.tools()})


def _check_time_limit(tools):
    started = time.monotonic()
    with pytest.raises(MCPToolError, match=r"no answer within 0\.5 s"):
        tools["wait"].invoke({"seconds": 3})
    assert time.monotonic() - started < 5
    assert tools["count"].invoke({"article": "lamp"}) == "3"


def test_side_effects_need_approval(offer_tools):
    asked = []

    def approve(request: ToolRequest) -> bool:
        asked.append(request)
        return request.arguments["house"] == "shed"

    tools = offer_tools(approve=approve)
    assert tools["burn"].invoke({"house": "shed"}) == "shed is burnt"
    with pytest.raises(MCPToolError, match="not approved"):
        tools["burn"].invoke({"house": "lighthouse"})
    assert [(request.tool, request.is_read_only, request.is_destructive) for request in asked] == [
        ("burn", False, True)
    ] * 2
    assert asked[0].server == Path(sys.executable).name


def test_without_approval_only_what_is_called_read_only_runs(offer_tools):
    tools = offer_tools()
    assert tools["count"].invoke({"article": "lamp"}) == "3"
    with pytest.raises(MCPToolError, match="not approved"):
        tools["burn"].invoke({"house": "shed"})


def test_trust_allows_all(offer_tools):
    assert offer_tools(trust=True)["burn"].invoke({"house": "shed"}) == "shed is burnt"


def test_tools_can_be_chosen_and_named_apart(open_server):
    server = open_server(only=["count", "burn"], without=["burn"], prefix="harbour_")
    assert [tool.name for tool in server.tools()] == ["harbour_count"]


def test_unknown_tool_is_refused_with_those_that_exist(open_server):
    with pytest.raises(ConfigurationError, match="has no tool 'cuont'") as caught:
        open_server(only=["cuont"]).tools()
    assert "count" in caught.value.hint


def test_long_text_is_cut_off(offer_tools):
    shown = offer_tools(max_result_chars=100)["long_text"].invoke({"size": 5000})
    assert shown == "x" * 100 + "\n(cut off: the text has 5,000 characters)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": ""}, "a server is a command"),
        ({"target": "server", "args": "--flag"}, "a server is a command"),
        ({"target": "server", "headers": {"a": "b"}}, "takes no headers"),
        ({"target": "http://127.0.0.1/mcp", "args": ["x"]}, "takes no args"),
        ({"target": "server", "approve": "yes"}, "approve must be a function"),
        ({"target": "server", "trust": "yes"}, "trust must be"),
        ({"target": "server", "trust": True, "approve": bool}, "trust=True allows"),
        ({"target": "server", "call_timeout_s": -1}, "call_timeout_s"),
        ({"target": "server", "max_tools": 0}, "max_tools"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        MCPServer(**settings)


def test_server_that_is_not_open_says_so():
    server = MCPServer("server")
    with pytest.raises(ConfigurationError, match="is not open"):
        server.tools()
    server.close()


def test_secrets_are_in_no_repr_and_no_error():
    server = MCPServer("http://user:sk-in-url@127.0.0.1:9/mcp", headers={"Authorization": "Bearer sk-secret"})
    with pytest.raises(Exception, match="cannot be opened") as caught:
        server.open()
    texts = f"{server!r} {caught.value} {caught.value.hint}"
    assert "sk-" not in texts


def test_tools_of_a_closed_server_say_so(open_server):
    server = open_server()
    (tool, *_) = server.tools()
    server.close()
    with pytest.raises(ConfigurationError, match="is not open"):
        tool.invoke({"article": "lamp"})
    server.open()
    assert server.tools()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_process_is_told_to_open_its_own(open_server):
    server = open_server()
    (tool, *_) = [tool for tool in server.tools() if tool.name == "count"]
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            tool.invoke({"article": "lamp"})
        except ConfigurationError as error:
            os.write(writing, str(error).encode())
        server.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert b"belongs to another process" in os.read(reading, 1000)
    assert tool.invoke({"article": "lamp"}) == "3"


SCRIPT = """
import sys
from pollux_mcp import MCPServer
server = MCPServer(sys.executable, [sys.argv[1], "behaves"])
server.open()
print(len(server.tools()))
if sys.argv[2] == "raise":
    raise SystemExit(3)
"""


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("raise", 3)])
def test_end_of_the_script_ends_a_server_that_nobody_closed(tmp_path, way, code):
    copy = tmp_path / "small_server.py"
    copy.write_text((SERVERS / "small_server.py").read_text())
    command = [sys.executable, "-c", SCRIPT, str(copy), way]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (code, "4\n", "")
    assert not is_running(str(copy))


def test_two_servers_share_one_thread(open_server):
    first, second = open_server(), open_server()
    assert sum(thread.name == "pollux-mcp" for thread in threading.enumerate()) == 1
    first.close()
    assert second.tools()


@pytest.mark.skipif(shutil.which("npx") is None, reason="node is not installed: the Python servers alone were tried")
@pytest.mark.soak
def test_filesystem_server_of_npm(tmp_path):
    (tmp_path / "log.txt").write_text("The lamp is lit.")
    args = ["-y", "@modelcontextprotocol/server-filesystem", str(tmp_path)]
    with MCPServer("npx", args, trust=True, start_timeout_s=120, env=dict(os.environ)) as server:
        tools = {tool.name: tool for tool in server.tools()}
        assert "The lamp is lit." in tools["read_text_file"].invoke({"path": str(tmp_path / "log.txt")})
