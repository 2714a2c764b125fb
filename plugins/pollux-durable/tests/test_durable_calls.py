"""Model calls over real connections: each is paid for once, whatever ends the process or the run in between."""

import subprocess
import sys
import time

import pytest

from pollux_durable import Agent, RunFailedError, configure, reset
from pollux_durable.configuring import find_host
from pollux_sync import Config
from pollux_sync.testing.server import Answer, Events, Hang, ScriptedServer

SSE = {"content-type": "text/event-stream"}
PROGRAM = """
import os, signal, sys
from pathlib import Path
from pollux_durable import Agent, configure, tool
from pollux_sync import Config

url, base_url, folder, prompt, on_change = sys.argv[1:]
configure(url, lease_s=1.0)

@tool
def double(ctx, n: int) -> int:
    with (Path(folder) / "calls").open("a") as file:
        file.write(f"{n}\\n")
    died = Path(folder) / "died"
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * n

agent = Agent(
    id="doubler",
    config=Config(provider="local", model="m", base_url=base_url),
    system_prompt=prompt,
    tools=[double],
    on_change=on_change,
)
try:
    print(agent.run("Double 4", execution_id="run", timeout=60).result)
except Exception as error:
    print(type(error).__name__, error)
os._exit(0)
"""


def completion(text=None, *calls):
    message = {"role": "assistant", "content": text}
    if calls:
        functions = [{"name": name, "arguments": arguments} for name, arguments in calls]
        message["tool_calls"] = [
            {"id": f"c{number}", "type": "function", "function": function} for number, function in enumerate(functions)
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return Answer(json={"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def run_agent(server, tmp_path):
    """Return a function that runs the agent in a process of its own and returns what it printed."""

    def run(prompt="You double.", on_change="fail"):
        url = f"sqlite:///{tmp_path / 'durable.db'}"
        arguments = [url, f"{server.url}/v1", str(tmp_path), prompt, on_change]
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=90).stdout

    return run


@pytest.fixture
def local(server, tmp_path):
    """Yield a function that declares an agent in this process, on a database of its own."""
    reset(forget=True)
    configure(f"sqlite:///{tmp_path / 'durable.db'}")
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1")
    yield lambda **settings: Agent(id="agent", config=config, **settings)
    reset(forget=True)


def test_pays_once_for_an_answer_of_a_process_that_was_killed(server, run_agent, tmp_path):
    server.reply(completion(None, ("double", '{"n": 4}')))
    server.reply(completion("eight"))
    assert run_agent() == ""
    assert run_agent() == "eight\n"
    assert len(server.requests) == 2
    assert (tmp_path / "calls").read_text() == "4\n4\n"


def test_shows_what_was_changed_between_kill_and_resume(server, run_agent):
    server.reply(completion(None, ("double", '{"n": 4}')))
    run_agent()
    printed = run_agent("You triple.")
    assert "RequestChangedError" in printed
    assert '"You double."' in printed
    assert '"You triple."' in printed
    assert len(server.requests) == 1


def test_asks_a_changed_question_anew_if_told_so(server, run_agent):
    server.reply(completion(None, ("double", '{"n": 4}')))
    server.reply(completion(None, ("double", '{"n": 4}')))
    server.reply(completion("twelve"))
    run_agent()
    assert run_agent("You triple.", "ask") == "twelve\n"
    assert len(server.requests) == 3


def test_keeps_the_answer_to_a_run_that_was_cancelled_meanwhile(server, local):
    answer = Hang(completion("late"))
    server.reply(answer)
    agent = local()
    handle = agent.invoke("hi")
    server.wait_for_requests(1)
    handle.cancel()
    assert handle.status == "pending_cancel"
    server.release()
    wait_for_status(handle, "cancelled")
    handle.resume()
    assert handle.result(30).result == "late"
    assert len(server.requests) == 1


def test_ends_the_call_of_a_run_that_is_cancelled_with_abort(server, local):
    server.reply(Hang())
    handle = local().invoke("hi")
    server.wait_for_requests(1)
    handle.cancel(abort=True)
    wait_for_status(handle, "cancelled")
    with pytest.raises(RunFailedError, match="was cancelled"):
        handle.result(10)


def test_ends_the_call_of_a_run_whose_time_is_over(server, local):
    server.reply(Hang())
    handle = local().invoke("hi", run_timeout_seconds=0.5)
    wait_for_status(handle, "cancelled")
    assert len(server.requests) == 1


def test_asks_no_more_after_a_refusal_that_would_only_come_again(server, local):
    server.reply(Answer(status=400, json={"error": {"message": "no such model"}}))
    with pytest.raises(RunFailedError, match="no such model"):
        local().run("hi")
    assert len(server.requests) == 1


def piece(text):
    return (
        f'data: {{"id": "x", "model": "m", "choices": [{{"index": 0, "delta": {{"content": "{text}"}}}}]}}\n\n'.encode()
    )


END = b'data: {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def test_shows_the_first_piece_before_the_last_is_there(server, local):
    server.reply(Events([piece("one ")], ending="hang", headers=SSE))
    stream = local().stream("hi")
    assert next(iter(stream.text_chunks)) == "one "
    stream.handle.cancel(abort=True)


def test_keeps_the_answer_of_a_stream(server, local):
    server.reply(Events([piece("one "), piece("two"), END], headers=SSE))
    stream = local().stream("hi")
    assert stream.text() == "one two"
    calls = find_host().calls
    (step,) = [step for step in find_host().engine.list_steps(stream.id) if step.key == "llm:1"]
    stored = calls.find(stream.id, "llm:1", step.result["request_key"])
    assert "one two" in str(stored)


def wait_for_status(handle, status):
    deadline = time.monotonic() + 30
    while handle.status != status:
        assert time.monotonic() < deadline, handle.status
        time.sleep(0.02)
