"""A small server, written by hand, that behaves or misbehaves in the way that its argument names."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

WAY = sys.argv[1]
TOOL = {"name": "f", "description": "a tool", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
DEEP: dict = {"$defs": {"a0": {"type": "string"}}}
for n in range(1, 25):
    both = {"x": {"$ref": f"#/$defs/a{n - 1}"}, "y": {"$ref": f"#/$defs/a{n - 1}"}}
    DEEP["$defs"][f"a{n}"] = {"type": "object", "properties": both}
SCHEMAS = {
    "dangling ref": {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
    "far ref": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
    "huge": {"type": "object", "description": "x" * 200_000},
    "bomb": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a24"}}, **DEEP},
}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
    sys.stdout.flush()


HOUSE = {"type": "object", "properties": {"house": {"type": "string"}}, "required": ["house"]}
SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
#: The tools of one that behaves; "burn" does not say that it changes nothing.
TOOLS = [
    TOOL | {"name": "count"},
    {"name": "burn", "inputSchema": HOUSE},
    TOOL | {"name": "long_text", "inputSchema": SIZE},
    TOOL | {"name": "wait"},
]
WORK = {
    "count": lambda _: "3",
    "burn": lambda arguments: f"{arguments['house']} is burnt",
    "long_text": lambda arguments: "x" * arguments["size"],
    "wait": lambda _: time.sleep(60),
}


def list_tools():
    if WAY == "behaves":
        return TOOLS
    if WAY == "many tools":
        return [TOOL | {"name": f"t{n}"} for n in range(300)]
    if WAY == "no schema":
        return [TOOL | {"inputSchema": {"type": "object", "properties": 7}}]
    if WAY == "bad schemas":
        return [TOOL, *(TOOL | {"name": name, "inputSchema": schema} for name, schema in SCHEMAS.items())]
    return [TOOL]


def flood():
    while True:
        sys.stdout.write("x" * 1_000_000)


def notify():
    for n in range(5000):
        send({"method": "notifications/message", "params": {"level": "info", "data": f"{n}" * 100}})


#: What happens before the answer.
ACTIONS = {
    "hangs": lambda: time.sleep(60),
    "dies": lambda: os._exit(3),
    "floods": flood,
    "notifies": notify,
    "shouts": lambda: sys.stderr.write("loud " * 600_000),
    "babbles": lambda: sys.stdout.write("this is no JSON\n"),
}
#: The answers of those that do not answer "done".
ANSWERS = {
    "lies": {"result": {"content": 7}},
    "fails": {"error": {"code": -32000, "message": "out of oil"}},
    "environment": {"result": {"content": [{"type": "text", "text": " ".join(sorted(os.environ))}]}},
}


def answer_call(message):
    ACTIONS.get(WAY, lambda: None)()
    called = message["params"]
    text = WORK[called["name"]](called.get("arguments")) if WAY == "behaves" else "done"
    send({"id": message["id"]} | ANSWERS.get(WAY, {"result": {"content": [{"type": "text", "text": text}]}}))


if WAY == "never starts":
    time.sleep(60)
if WAY == "ends at once":
    sys.exit("no configuration")
if WAY == "stays":
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(60)  # {os.getpid()}"])
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize":
            version = message["params"]["protocolVersion"]
            info = {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "b", "version": "1"},
            }
            send({"id": message["id"], "result": info})
        case "tools/list":
            send({"id": message["id"], "result": {"tools": list_tools()}})
        case "tools/call" if WAY == "never answers":
            pass
        case "notifications/cancelled" if WAY == "never answers":
            Path(os.environ["MARK"]).write_text("cancelled")
        case "tools/call":
            answer_call(message)
        case "notifications/cancelled":
            pass
        case _ if "id" in message:
            send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
if WAY == "stays":
    time.sleep(60)
