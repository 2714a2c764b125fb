"""A small MCP server over stdio that misbehaves on request, written without any package so that it starts at once.

The first argument is how it behaves from the start; its tools behave as their names say. What it reads is appended to
the file of MCP_LOG.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOG = Path(os.environ["MCP_LOG"])
MODE = sys.argv[1] if len(sys.argv) > 1 else ""
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}
ANY = {"type": "object"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def wrap(schema, **definitions):
    return {"type": "object", "properties": {"x": schema}, **({"$defs": definitions} if definitions else {})}


def refer(name):
    return {"$ref": f"#/$defs/{name}"}


def build_bomb(depth):
    """A schema that doubles with each of its references."""
    twice = {f"s{n}": wrap(refer(f"s{n + 1}")) | {"items": refer(f"s{n + 1}")} for n in range(depth)}
    return wrap(refer("s0"), **twice, **{f"s{depth}": {"type": "string"}})


SCHEMAS = {
    "good": TEXT,
    "tree": wrap(refer("tree"), tree=wrap({"type": "array", "items": refer("tree")})),
    "bomb": build_bomb(20),
    "loop": wrap(refer("a"), a={"anyOf": [refer("b"), ANY]}, b=refer("a")),
    "remote": wrap({"$ref": "http://127.0.0.1:9/secret"}),
    "dangling": wrap(refer("none")),
    "unknown_type": wrap({"type": "nonsense"}),
    "huge": {"type": "object", "properties": {f"x{n}": {"type": "string"} for n in range(5000)}},
    "deep": json.loads('{"type":"object","properties":{"x":' * 55 + "{}" + "}}" * 55),
}
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}
LINK = {"type": "resource_link", "name": "report", "uri": "file:///r.pdf", "mimeType": "application/pdf", "size": 7}
CONTENTS = {
    "image": [{"type": "text", "text": "a dot"}, IMAGE],
    "bad_image": [{**IMAGE, "data": "%%%"}],
    "link": [LINK],
    "embedded": [{"type": "resource", "resource": {"uri": "file:///n.txt", "text": "a note"}}],
    "blob": [{"type": "resource", "resource": {"uri": "file:///d.png", "blob": PNG, "mimeType": "image/png"}}],
    "long": [{"type": "text", "text": "x" * 300_000}],
    "nothing": [],
    "garbage": "no list",
    "unreadable": json.loads("[" * 300 + "]" * 300),
    "environment": [{"type": "text", "text": " ".join(sorted(os.environ))}],
}
NAMES = ("a.b", "a_b", "a/b", "é" * 70, "1st", "plain", "plain")


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def list_names():
    if MODE in ("schemas", "misfit"):
        return SCHEMAS
    if MODE == "names":
        return NAMES
    return [f"t{n}" for n in range(1000)] if MODE == "many" else ["write", "hang", "fault", *ACTIONS, *CONTENTS]


def list_tools():
    tools = [
        {"name": name, "inputSchema": SCHEMAS.get(name, TEXT), "annotations": {"readOnlyHint": name != "write"}}
        for name in list_names()
    ]
    if MODE == "misfit":
        tools[0]["inputSchema"] = "secret text"
    return {"tools": tools, **({"nextCursor": "again"} if MODE == "pages" else {})}


def die(text):
    sys.stderr.write("out of memory\n")
    sys.stderr.flush()
    os._exit(3)


def flood(text):
    for n in range(1_000):
        send(method="notifications/message", params={"level": "info", "data": f"{n} {'x' * 20_000}"})
    send(method="notifications/tools/list_changed")


def flood_stderr(text):
    sys.stderr.write("x" * 20_000_000 + "\n" + "line\n" * 10_000)


def write_endlessly(text):
    while True:
        sys.stdout.write("x" * 65_536)


def ask_endlessly(text):
    while True:
        send(id=f"r{time.monotonic_ns()}", method="sampling/createMessage", params={"messages": [], "maxTokens": 1})


def ask(text):
    send(id="ask-1", method="elicitation/create", params={"message": "?", "requestedSchema": ANY})


def report_error(text):
    return {"content": [{"type": "text", "text": "no such city"}], "isError": True}


def return_data(text):
    data = {"city": text, "degrees": 21}
    return {"content": [{"type": "text", "text": json.dumps(data)}], "structuredContent": data}


def return_bare_data(text):
    return {"content": [], "structuredContent": {"city": text, "degrees": 21}}


def echo(text):
    return {"content": [{"type": "text", "text": f"echo {text}"}]}


ACTIONS = {
    "echo": echo,
    "die": die,
    "flood": flood,
    "flood_stderr": flood_stderr,
    "endless": write_endlessly,
    "unread": ask_endlessly,
    "ask": ask,
    "error": report_error,
    "data": return_data,
    "bare_data": return_bare_data,
}


def call_tool(name, text):
    result = ACTIONS[name](text) if name in ACTIONS else None
    return result or {"content": CONTENTS.get(name, [{"type": "text", "text": f"{name} {text}"}])}


def answer(message):
    method, params = message.get("method"), message.get("params", {})
    if method == "initialize":
        facts = {"serverInfo": {"name": "scripted", "version": "1"}, "capabilities": {"tools": {}}}
        send(id=message["id"], result={"protocolVersion": params["protocolVersion"], **facts})
    elif method == "tools/list" and MODE != "unlisted":
        send(id=message["id"], result=list_tools())
    elif method == "tools/call":
        name, text = params["name"], params["arguments"].get("text", "")
        if name == "fault":
            send(id=message["id"], error={"code": -32602, "message": "the argument 'unit' is missing"})
        elif name != "hang":
            send(id=message["id"], result=call_tool(name, text))
    elif method not in (None, "tools/list") and "id" in message:
        send(id=message["id"], error={"code": -32601, "message": "no such method"})


def begin():
    if MODE == "exit":
        sys.exit(f"no configuration; the key is {os.environ.get('API_KEY')}")
    if MODE == "noisy":
        sys.stdout.write("Welcome!\n")
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE in ("stubborn", "parent"):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        Path(f"{LOG}.child").write_text(str(child.pid))


begin()
for line in sys.stdin:
    with LOG.open("a") as file:
        file.write(line)
    if MODE != "silent":
        answer(json.loads(line))
while MODE == "stubborn":
    time.sleep(1)
