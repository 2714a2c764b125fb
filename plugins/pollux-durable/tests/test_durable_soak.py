"""A workflow with an agent, three tools, a parallel map, a child and a suspend, killed again and again."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter

import pytest
import sqlalchemy as sa

from pollux_sync.testing.server import Answer, ScriptedServer

pytestmark = pytest.mark.soak

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "4"))
SEED = int(os.environ.get("SOAK_SEED", "20261121"))
#: So many kills for each engine; two hundred in a whole soak.
KILLS = max(5, ROUNDS)
TOOLS = ("add", "double", "negate")

PROGRAM = """
import os, sys, threading, time
from pathlib import Path
from pollux_durable import Agent, configure, events, get_handle, tool, workflow
from pollux_sync import Config, ConfigurationError

url, base_url, folder, execution_id = sys.argv[1:]
configure(url, lease_s=1.0, wait_threshold_s=0.2)

def log(step):
    descriptor = os.open(Path(folder) / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{step}\\n".encode())
    os.close(descriptor)

def work(step, value):
    log(step)
    time.sleep(0.01)
    return value

@tool
def add(ctx, a: int, b: int) -> int:
    return ctx.step.run("add", work, f"{ctx.execution_id}/add", a + b)

@tool
def double(ctx, n: int) -> int:
    return ctx.step.run("double", work, f"{ctx.execution_id}/double", 2 * n)

@tool(step=True)
def negate(ctx, n: int) -> int:
    return -n

agent = Agent(
    id="agent", config=Config(provider="local", model="m", base_url=base_url), tools=[add, double, negate]
)

@workflow
def child(ctx, payload: int):
    return ctx.step.run("square", work, f"{ctx.execution_id}/square", payload * payload)

@workflow
def main(ctx):
    answer = ctx.step.agent_invoke_and_wait("agent", agent.with_input(f"Compute for {ctx.execution_id}")).result
    squares = ctx.step.map("map", lambda n: work(f"{ctx.execution_id}/map[{n}]", n * n), range(4))
    nine = ctx.step.invoke_and_wait("child", child, 3)
    ctx.step.publish_event("tell", "told", {"run": ctx.execution_id})
    word = ctx.step.suspend("word", {"title": "A word?"})
    return [answer, squares, nine, word]

handle = main.invoke(execution_id=execution_id)

def answer_word():
    while True:
        try:
            handle.answer("word", "please")
            return
        except ConfigurationError:
            time.sleep(0.05)

threading.Thread(target=answer_word, daemon=True).start()
print(handle.result(120))
os._exit(0)
"""


def completion(text, calls=()):
    message = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for number, (name, arguments) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return Answer(json={"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


def reply(request):
    """Answer as a model that calls three tools at once, and then adds up what they returned."""
    messages = request.json()["messages"]
    told = [message["content"] for message in messages if message["role"] == "tool"]
    assert all(text.lstrip("-").isdigit() for text in told), told
    results = [int(text) for text in told]
    if results:
        return completion(f"The sum is {sum(results)}.")
    return completion(None, [("add", {"a": 1, "b": 2}), ("double", {"n": 4}), ("negate", {"n": 5})])


class Reader:
    """Reads what a database has recorded."""

    def __init__(self, url):
        # Without a pool: nothing stays open between two looks.
        self.engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
        self.schema = "" if url.startswith("sqlite") else "dbos."

    def read(self, sql):
        try:
            with self.engine.connect() as connection:
                return [tuple(row) for row in connection.execute(sa.text(sql))]
        except sa.exc.DBAPIError:  # before the first start has made the tables
            return []

    def read_steps(self):
        """Return the steps of ours that are recorded, as the log names them."""
        rows = self.read(f"SELECT workflow_uuid, function_name FROM {self.schema}operation_outputs")  # noqa: S608
        return {f"{run}/{step}" for run, step in rows}

    def read_requests(self):
        """Return the bodies of the model calls whose answers are stored."""
        return {
            json.dumps(json.loads(row[0])["body"], sort_keys=True)
            for row in self.read("SELECT request FROM pollux_calls")
        }

    def count_told(self):
        return self.read("SELECT COUNT(*) FROM pollux_events WHERE topic = 'told'")[0][0]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_every_step_is_recorded_once_and_no_answer_is_paid_twice(engine, make_url, tmp_path):
    chance = random.Random(f"{SEED}{engine}")  # noqa: S311 - when to kill
    url = make_url(engine)
    reader = Reader(url)
    log = tmp_path / "log"
    log.touch()
    n_kills = n_runs = 0
    with ScriptedServer() as server:
        server.handler = reply
        while n_kills < KILLS:
            n_runs += 1
            printed = None
            while printed is None:
                # What is recorded now must not be done again by the next process.
                steps, requests = reader.read_steps(), reader.read_requests()
                n_lines, n_requests = len(log.read_text().splitlines()), len(server.requests)
                arguments = [url, f"{server.url}/v1", str(tmp_path), f"run{n_runs}"]
                process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                try:
                    delay_s = chance.uniform(0.9, 2.6) if n_kills < KILLS else 120
                    printed, errors = process.communicate(timeout=delay_s)
                    assert process.returncode == 0, errors
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    n_kills += 1
                done = set(log.read_text().splitlines()[n_lines:])
                assert not done & steps
                asked = {json.dumps(request.json(), sort_keys=True) for request in server.requests[n_requests:]}
                assert not asked & requests
            assert printed == "['The sum is 6.', [0, 1, 4, 9], 9, 'please']\n"
            assert reader.count_told() == n_runs
    once = Counter(line for line in log.read_text().splitlines())
    # A step that was cut off before its record is done again: at most once for each kill.
    assert sum(once.values()) - len(once) <= n_kills * 4
