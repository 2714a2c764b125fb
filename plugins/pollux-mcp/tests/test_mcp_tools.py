"""Tools of servers in `run_tools` and sessions."""

import json
import sys
from pathlib import Path

import pytest

import pollux_durable
from mcp_servers import OFFICIAL, build_model, call, find, read_tool_turns
from pollux_mcp import Limits, MCPServer, MCPServerError
from pollux_mcp.approving import Approver
from pollux_mcp.calling import ToolCaller
from pollux_sync import ConfigurationError, Session, Source, ToolFailure, run_tools
from pollux_sync.plugin import AnswerMismatch


def test_calls_tools_over_stdio():
    script, config = build_model([call("add", '{"a": 1, "b": 2}'), call("weather", '{"city": "Rome"}', "c2")], "Done.")
    with MCPServer(sys.executable, [OFFICIAL]) as server:
        result = run_tools("1 + 2?", tools=server.tools(), config=config)
    assert result["answers"] == ["Done."]
    sum_turn, weather_turn = read_tool_turns(script)
    assert sum_turn["content"] == "3"
    assert json.loads(weather_turn["content"]) == {"city": "Rome", "sky": "blue"}
    (declared,) = [tool for tool in script.requests[0]["tools"] if tool["name"] == "add"]
    assert declared["description"] == "Add two numbers."
    assert declared["parameters"]["required"] == ["a", "b"]


def test_calls_tools_over_http_in_a_session(official):
    script, config = build_model(call("add", '{"a": 1, "b": 2}'), "Done.")
    with MCPServer(url=official) as server, Session(config) as session:
        assert session.run_tools("1 + 2?", tools=server.tools())["answers"] == ["Done."]
    assert read_tool_turns(script)[0]["content"] == "3"


@pytest.fixture
def durable():
    """Durable workflows in memory."""
    pollux_durable.configure("memory:")
    yield
    pollux_durable.reset()


def test_calls_tools_of_an_agent_as_steps(scripted, durable):
    _, config = build_model([call("echo", '{"text": "hi"}'), call("error", call_id="c2")], "Done.")
    with scripted() as server:
        result = pollux_durable.Agent(id="mcp-agent", config=config, tools=server.tools()).run("?")
    assert [(one.content, one.is_error) for one in result.tool_results] == [("echo hi", False), ("no such city", True)]


def test_has_the_tools_of_two_servers(official, scripted):
    with MCPServer(url=official, prefix="a_") as first, scripted(prefix="b_") as second:
        tools = {tool.name: tool for tool in [*first.tools(), *second.tools()]}
        assert tools["a_add"].invoke({"a": 1, "b": 2}) == "3"
        assert tools["b_echo"].invoke({"text": "hi"}) == "echo hi"


def test_runs_fifty_calls_at_once(official):
    calls = [call("add", json.dumps({"a": n, "b": n}), f"c{n}") for n in range(50)]
    script, config = build_model(calls, "Done.")
    with MCPServer(url=official) as server:
        run_tools("?", tools=server.tools(), config=config, tool_concurrency=50)
    assert [turn["content"] for turn in read_tool_turns(script)] == [str(2 * n) for n in range(50)]


def test_runs_fifty_calls_at_once_over_stdio(scripted):
    calls = [call("echo", json.dumps({"text": str(n)}), f"c{n}") for n in range(50)]
    script, config = build_model(calls, "Done.")
    with scripted() as server:
        run_tools("?", tools=server.tools(), config=config, tool_concurrency=50)
    assert [turn["content"] for turn in read_tool_turns(script)] == [f"echo {n}" for n in range(50)]


def test_sends_headers(official):
    with MCPServer(url=official, headers={"X-Key": "k-123456"}) as server:
        assert find(server, "show_header").invoke({}) == "k-123456"


def test_passes_few_variables_to_a_server(scripted, monkeypatch):
    monkeypatch.setenv("OTHER_SECRET", "s-123456")
    with scripted(env={"TOKEN": "t-123456"}) as server:
        names = find(server, "environment").invoke({}).split()
    assert "TOKEN" in names
    assert "OTHER_SECRET" not in names


# Results


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("data", '{"city": "Rome", "degrees": 21}'),
        ("bare_data", '{"city": "Rome", "degrees": 21}'),
        ("link", "[resource 'report' at file:///r.pdf, application/pdf, 7 bytes]"),
        ("embedded", "[resource file:///n.txt]\na note"),
        ("nothing", "(the tool returned nothing)"),
        ("bad_image", "[image left out: "),
    ],
)
def test_reads_a_result(scripted, tool, text):
    with scripted() as server:
        assert find(server, tool).invoke({"text": "Rome"}).startswith(text)


def test_shows_an_image_to_the_model(scripted):
    _, config = build_model(call("image"), "A dot.")
    with scripted() as server:
        result = run_tools("?", tools=server.tools(), config=config)
        (source,) = find(server, "blob").invoke({})
    (ran,) = result["diagnostics"]["steps"][0]["tool_runs"]
    assert ran["content"].startswith("a dot\n\nimage")
    assert [source["mime_type"] for source in ran["sources"]] == ["image/png"]
    assert isinstance(source, Source)
    assert (source.mime_type, source.load()[:4]) == ("image/png", b"\x89PNG")


def test_reads_the_items_of_a_list_once(official):
    with MCPServer(url=official) as server:
        assert find(server, "list_cities").invoke({}) == "Rome\n\nOslo"


def test_cuts_a_long_result(scripted):
    with scripted(limits=Limits(max_result_chars=1000)) as server:
        text = find(server, "long").invoke({})
    assert text == f"{'x' * 1000}\n[cut: 1000 of 300000 characters are shown]"


def test_leaves_out_a_file_that_is_too_large(scripted):
    with scripted(limits=Limits(max_file_bytes=10)) as server:
        assert find(server, "image").invoke({}) == "a dot\n\n[image left out: 70 bytes]"


# Errors


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("error", "no such city"),
        ("fault", "the call failed: the argument 'unit' is missing (code -32602)"),
        ("unreadable", "the call failed: its answer cannot be read (code -32700)"),
        ("garbage", "the server answered with something that is no result of a tool"),
    ],
)
def test_sends_the_model_an_error(scripted, tool, text):
    script, config = build_model(call(tool), "Sorry.")
    with scripted() as server:
        run_tools("?", tools=server.tools(), config=config, on_tool_error="raise")
    (turn,) = read_tool_turns(script)
    assert (turn["is_error"], turn["content"]) == (True, text)


def test_sends_the_model_the_error_of_an_official_server(official):
    with MCPServer(url=official) as server:
        failure = find(server, "weather").invoke({"city": "Nowhere"})
    assert isinstance(failure, ToolFailure)
    assert "no such city" in failure.result


def test_checks_arguments_before_they_are_sent(scripted, log):
    with scripted() as server, pytest.raises(AnswerMismatch):
        find(server, "echo").invoke({"text": 3})
    assert "tools/call" not in log.read_text()


def test_refuses_the_servers_own_requests(scripted, log):
    with scripted() as server:
        assert find(server, "ask").invoke({"text": "now"}) == "ask now"
    (answer,) = [line for line in map(json.loads, log.read_text().splitlines()) if line.get("id") == "ask-1"]
    assert "error" in answer


# Names and choices


def test_makes_names_acceptable(scripted):
    with scripted("names") as server:
        tools = {tool.name: tool.function.tool for tool in server.tools()}
        again = {tool.name: tool.function.tool for tool in server.tools()}
    assert tools["a_b"] == "a_b"
    assert tools["plain"] == "plain"
    assert sorted(tools.values()) == sorted(["a.b", "a_b", "a/b", "é" * 70, "1st", "plain"])
    assert all(name.isascii() and len(name) <= 64 and name.replace("-", "_").isidentifier() for name in tools)
    assert again == tools


def test_chooses_tools(scripted):
    with (
        scripted(only=["echo", "error"], without=["error"]) as server,
        pytest.raises(ConfigurationError, match="error"),
    ):
        server.tools()
    with scripted(only=["echo"]) as server:
        assert [tool.name for tool in server.tools()] == ["echo"]
    with scripted(without=["echo"]) as server:
        assert "echo" not in {tool.name for tool in server.tools()}


def test_names_a_chosen_tool_that_there_is_not(scripted):
    with scripted(only=["ekko"]) as server, pytest.raises(ConfigurationError, match="offers no tool 'ekko'"):
        server.tools()


@pytest.mark.parametrize("mode", ["many", "pages"])
def test_limits_the_number_of_tools(scripted, mode):
    with scripted(mode, limits=Limits(max_tools=10)) as server, pytest.raises(ConfigurationError, match="more than 10"):
        server.tools()


def test_ends_a_list_that_never_ends(scripted):
    with scripted("pages") as server:
        assert find(server, "echo")


# Schemas


def test_leaves_out_tools_whose_schema_cannot_be_used(scripted, caplog):
    with scripted("schemas") as server:
        assert [tool.name for tool in server.tools()] == ["good", "tree"]
    reasons = {record.args[0]: str(record.args[2]) for record in caplog.records if record.name == "pollux_mcp"}
    expected = {
        "bomb": "too large",
        "loop": "without an end",
        "remote": "another document",
        "dangling": "leads nowhere",
        "unknown_type": "invalid",
        "huge": "more than 65536 bytes",
        "deep": "nested too deeply",
    }
    assert reasons.keys() == expected.keys()
    assert all(words in reasons[tool] for tool, words in expected.items()), reasons


def test_refuses_a_chosen_tool_whose_schema_cannot_be_used(scripted):
    with scripted("schemas", only=["bomb"]) as server, pytest.raises(ConfigurationError, match=r"'bomb'.*too large"):
        server.tools()


def test_refuses_a_list_that_does_not_fit_the_protocol(scripted):
    with scripted("misfit") as server, pytest.raises(MCPServerError, match="does not fit the protocol") as caught:
        server.tools()
    assert "secret text" not in str(caught.value)


# Approval


def test_refuses_tools_with_side_effects(scripted, log):
    script, config = build_model(call("write"), "Sorry.")
    with scripted() as server:
        run_tools("?", tools=server.tools(), config=config, on_tool_error="raise")
    (turn,) = read_tool_turns(script)
    assert turn["is_error"]
    assert "nobody approves calls" in turn["content"]
    assert "tools/call" not in log.read_text()


def test_runs_all_tools_when_all_are_approved(scripted):
    with scripted(approve="all") as server:
        assert find(server, "write").invoke({"text": "x"}) == "write x"


@pytest.mark.parametrize(("answer", "runs"), [(True, True), (False, False), ("yes", False), (None, False)])
def test_asks_before_each_call(scripted, answer, runs):
    asked = []

    def approve(server, tool, arguments):
        asked.append((server, tool, dict(arguments)))
        arguments["text"] = "changed"
        return answer

    with scripted(approve=approve) as server:
        result = find(server, "echo").invoke({"text": "x"})
    assert asked == [("scripted", "echo", {"text": "x"})]
    assert result == "echo x" if runs else result.result == "the call of 'echo' was not approved"


# Settings


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"command": "x", "url": "http://a/mcp"},
        {"url": "ftp://a/mcp"},
        {"url": "http://user:secret@a/mcp"},
        {"command": "x", "args": [3]},
        {"command": "x", "args": "-y server"},
        {"command": "x", "prefix": 3},
        {"command": "x", "env": {"A": 3}},
        {"command": "x", "approve": "always"},
        {"command": "x", "only": "echo"},
        {"command": "x", "call_timeout_s": 0},
        {"command": "x", "start_timeout_s": "3"},
    ],
)
def test_refuses_settings_that_cannot_work(settings):
    with pytest.raises(ConfigurationError) as caught:
        MCPServer(**settings)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


def test_refuses_limits_that_cannot_work():
    with pytest.raises(ConfigurationError, match="max_tools"):
        Limits(max_tools=0)


def test_refuses_tools_outside_the_block(scripted):
    server = scripted()
    with pytest.raises(ConfigurationError, match="is not open"):
        server.tools()
    with server:
        tool = find(server, "echo")
        with pytest.raises(ConfigurationError, match="is open"):
            server.__enter__()
    with pytest.raises(ConfigurationError, match="is not open"):
        tool.invoke({"text": "x"})


def test_can_be_opened_again(scripted):
    server = scripted()
    for _ in range(2):
        with server:
            assert find(server, "echo").invoke({"text": "x"}) == "echo x"


@pytest.mark.soak
def test_calls_the_filesystem_server_of_npm(tmp_path):
    import shutil

    if shutil.which("npx") is None:
        pytest.skip("node is missing, so the server of npm cannot be tried")
    (tmp_path / "note.txt").write_text("a note")
    arguments = ["-y", "@modelcontextprotocol/server-filesystem", str(tmp_path)]
    try:
        with MCPServer("npx", arguments, start_timeout_s=120) as server:
            text = find(server, "read_text_file").invoke({"path": str(Path(tmp_path, "note.txt"))})
    except MCPServerError as error:
        pytest.skip(f"npm cannot start the server: {error}")
    assert text == "a note"


def test_argument_may_have_any_name():
    approver = Approver(lambda *_: False, "server")
    caller = ToolCaller(connect=lambda: None, settings=None, approver=approver, tool="ask", is_read_only=False)
    assert caller(self=1) == ToolFailure("the call of 'ask' was not approved")
