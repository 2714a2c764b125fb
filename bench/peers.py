"""Peers: what a user would write instead, each package in an environment of its own.

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
    """One row: ``adapter`` is a class of contestants.py, ``env`` names the environment; "" is this one."""

    name: str
    adapter: str
    env: str = ""
    api: str = "responses"
    slow: bool = False  # more than 5 ms a call: measured with fewer calls


#: What is installed where, pinned.
ENVS = {
    "openai": ("openai==3.52.0",),
    "anthropic": ("anthropic==2.11.0",),
    "google-genai": ("google-genai==3.4.0",),
    "requests": ("requests==2.34.2",),
    "pollux-ai": ("pollux-ai==2.0.0",),
    "llm": ("llm==0.36",),
    "any-llm": ("any-llm-sdk[openai]==1.40.2",),
    "litellm": ("litellm==1.104.0",),  # the newest whose dependencies could be had
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


class MissingPeerError(Exception):
    """A peer that cannot be measured, and why."""


def python_of(peer: Peer) -> str:
    """The interpreter of the peer's environment, made when it is not there. Raises MissingPeerError."""
    return sys.executable if not peer.env else _environment(peer.env)


@cache
def _environment(name: str) -> str:
    folder = VENVS / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps(ENVS[name])
    if not (stamp.is_file() and stamp.read_text() == wanted):
        print(f"making the environment of {name}: {' '.join(ENVS[name])}", file=sys.stderr)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *ENVS[name])
        stamp.write_text(wanted)
    return str(python)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise MissingPeerError(f"not installable: {(lines or ['see pip'])[-1].removeprefix('ERROR: ')[:100]}")


def version_of(peer: Peer) -> str:
    """What was installed, e.g. "openai 3.52.0"; for ours the version in this environment."""
    requirement = ENVS[peer.env][0] if peer.env else _own_distribution(peer)
    name = requirement.partition("==")[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run([python_of(peer), "-c", code], capture_output=True, text=True, check=False)
    return f"{name} {done.stdout.strip() or 'not installed'}"


def _own_distribution(peer: Peer) -> str:
    return peer.name.partition(",")[0]
