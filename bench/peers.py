"""The peers: what a user would write instead, each package in a separate environment.

The environments are made with `python -m venv` below ``bench/.venvs``, or below POLLUX_BENCH_VENVS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENVS = Path(os.environ.get("POLLUX_BENCH_VENVS") or HERE / ".venvs")


@dataclass(frozen=True)
class Peer:
    """One row of the tables.

    ``adapter`` is a class of contestants.py, or of the module before its dot. ``env`` names its environment, "" this
    one.
    """

    name: str
    adapter: str
    env: str = ""
    api: str = "responses"
    slow: bool = False  # more than 5 ms a call: measured with fewer calls


#: The pinned packages of each environment.
ENVS = {
    "openai": ("openai==3.52.0",),
    "anthropic": ("anthropic==2.11.0",),
    "google-genai": ("google-genai==3.4.0",),
    "requests": ("requests==2.34.2",),
    "pollux-ai": ("pollux-ai==2.0.0",),
    "llm": ("llm==0.36",),
    "any-llm": ("any-llm-sdk[openai]==1.40.2",),
    "litellm": ("litellm==1.104.0",),  # the newest whose dependencies could be had
    "async-batch-llm": ("async-batch-llm[openai]==0.28.0",),
    "dbos": ("dbos==3.4.0",),
    "pydantic-ai": ("pydantic-ai-slim[dbos,openai]==2.68.0", "dbos==3.4.0"),
}

OURS_OPENAI = Peer("pollux-openai", "OursOpenai")
OURS_CLIENT = Peer("pollux-openai, user's client", "OursClient")
OURS_LOCAL = Peer("pollux-local", "OursLocal", api="chat")
OURS_OPENROUTER = Peer("pollux-openrouter", "OursOpenrouter", api="chat")
CHAT = Peer("openai chat.completions", "OpenaiChat", "openai", api="chat")
OURS_ANTHROPIC = Peer("pollux-anthropic", "OursAnthropic", api="messages")
OURS_GEMINI = Peer("pollux-gemini", "OursGemini", api="generateContent")
OPENAI = Peer("openai responses.create", "OpenaiTyped", "openai")
REQUESTS = Peer("requests Session.post", "Requests", "requests", api="chat")
ANTHROPIC = Peer("anthropic messages.create", "Anthropic", "anthropic", api="messages")
GENAI = Peer("google-genai generate_content", "GoogleGenai", "google-genai", api="generateContent")

PEERS = (
    OURS_OPENAI,
    OURS_CLIENT,
    OPENAI,
    Peer("openai client.post(object)", "OpenaiRaw", "openai"),
    Peer("pollux-ai", "PolluxAi", "pollux-ai"),
    OURS_ANTHROPIC,
    ANTHROPIC,
    OURS_GEMINI,
    GENAI,
    OURS_LOCAL,
    OURS_OPENROUTER,
    REQUESTS,
    CHAT,
    Peer("any-llm, client kept", "AnyLlm", "any-llm", api="chat"),
    Peer("any-llm completion()", "AnyLlmFunction", "any-llm", api="chat", slow=True),
    Peer("litellm", "Litellm", "litellm", api="chat", slow=True),
    Peer("llm", "Llm", "llm", api="chat", slow=True),
)

BATCH = Peer("pollux-batch", "bulk.Batch", api="chat")
BATCH_IN_TWO = Peer("pollux-batch, 2 processes", "bulk.BatchInTwo", api="chat")
ASYNC_BATCH = Peer("async-batch-llm", "bulk.AsyncBatchLlm", "async-batch-llm", api="chat")
SESSIONS = Peer("requests, a Session a thread", "bulk.RequestsSessions", "requests", api="chat")
URLLIB3 = Peer("urllib3 pool", "bulk.Urllib3", "requests", api="chat")

BATCH_PEERS = (BATCH, BATCH_IN_TWO, ASYNC_BATCH, SESSIONS, URLLIB3, OURS_LOCAL)

DURABLE = Peer("pollux-durable", "workflows.Ours", api="chat")
DURABLE_STREAM = Peer("pollux-durable, streams", "workflows.Streaming", api="chat")
DURABLE_FLEET = Peer("pollux-durable, fleet", "workflows.Fleet", api="chat")
DBOS_LIKE_OURS = Peer("dbos, our database settings", "workflows.DbosLikeOurs", api="chat")
DBOS = Peer("dbos", "workflows.Dbos", "dbos", api="chat")
PYDANTIC_AI_WAL = Peer("pydantic-ai, our database settings", "workflows.PydanticAiWal", "pydantic-ai", api="chat")
PYDANTIC_AI = Peer("pydantic-ai", "workflows.PydanticAi", "pydantic-ai", api="chat")

DURABLE_PEERS = (DURABLE, DBOS_LIKE_OURS, DBOS, PYDANTIC_AI_WAL, PYDANTIC_AI)

LAYER_PEERS = (
    Peer("pollux-local, no middleware", "layers.Bare", api="chat"),
    Peer("pollux-limit", "layers.WithLimit", api="chat"),
    Peer("pollux-cost", "layers.WithCost", api="chat"),
    Peer("pollux-fallback", "layers.WithFallback", api="chat"),
    Peer("pollux-cache, new answers", "layers.WithCache", api="chat"),
    Peer("pollux-cache, hits", "layers.WithHits", api="chat"),
    Peer("pollux-log", "layers.WithLog", api="chat"),
    Peer("pollux-otel", "layers.WithOtel", api="chat"),
    Peer("pollux-redact", "layers.WithRedact", api="chat"),
    Peer("all seven, new answers", "layers.WithAll", api="chat"),
)


class MissingPeerError(Exception):
    """A peer cannot be measured; the message says why."""


def find_python(peer: Peer) -> str:
    """Return the Python of the peer's environment, which is created if necessary. Raises MissingPeerError."""
    return sys.executable if not peer.env else _make_environment(peer.env)


@cache
def _make_environment(name: str) -> str:
    folder = VENVS / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps(ENVS[name])
    if not (stamp.is_file() and stamp.read_text() == wanted):
        print(f"making the environment of {name}: {' '.join(ENVS[name])}", file=sys.stderr)
        _run_command(sys.executable, "-m", "venv", "--clear", str(folder))
        _run_command(str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *ENVS[name])
        stamp.write_text(wanted)
    return str(python)


def _run_command(*command: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        raise MissingPeerError(f"not installable: {(lines or ['see pip'])[-1].removeprefix('ERROR: ')[:100]}")


def read_version(peer: Peer) -> str:
    """Return the installed version, such as "openai 3.52.0"; for our packages the version in this environment."""
    requirement = ENVS[peer.env][0] if peer.env else _own_distribution(peer)
    name = requirement.partition("==")[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    process = subprocess.run([find_python(peer), "-c", code], capture_output=True, text=True, check=False)
    return f"{name} {process.stdout.strip() or 'not installed'}"


def _own_distribution(peer: Peer) -> str:
    return peer.name.partition(",")[0]
