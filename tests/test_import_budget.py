"""A script pays only for what it uses: checked by lists of modules, never by times."""

import gzip
import json
import subprocess
import sys

import pytest

from pollux_sync.testing.server import Answer, ScriptedServer

NEVER = {
    "anthropic",
    "asyncio",
    "google.genai",
    "httpx",
    "httpx2",
    "msgspec",
    "numpy",
    "openai",
    "pydantic",
}
HEAVY = {"cattrs", "jsonschema", "referencing", "requests", "urllib3"}

STAGES = {
    "import": "import pollux_sync",
    "command": "import pollux_sync.commands",
    "values": "from pollux_sync import Config, Source",
    "call": """
from pollux_sync import Config, Source, run
config = Config(provider="any", model="m", use_mock=True)
result = run("Who?", source=Source.from_text("Call me Ishmael."), config=config)
assert result["answers"] == ["echo: Call me Ishmael."]
""",
    "text": """
from pollux_sync import Config, run
assert run("Who?", config=Config(provider="any", model="m", use_mock=True))["answers"] == ["echo: Who?"]
""",
    "program": """
from pollux_sync.cli import main
import io, sys
sys.stdout = io.StringIO()
assert main(["run", "Who?", "--mock"]) == 0
sys.stdout = sys.__stdout__
""",
}
#: What only some calls need: files, schemas, caches, jobs, tools, conversions, events, kept conversations, templates.
FOR_SOME = {
    "decimal",
    "email",
    "pollux_sync.api.caching",
    "pollux_sync.builtin.examples",
    "pollux_sync.cli.completing",
    "pollux_sync.cli.conversations",
    "pollux_sync.cli.folders",
    "pollux_sync.cli.templating",
    "pollux_sync.data.envelope",
    "pollux_sync.data.events",
    "pollux_sync.data.jobs",
    "pollux_sync.data.source",
    "pollux_sync.data.tool",
    "pollux_sync.engine.caching",
    "pollux_sync.engine.converting",
    "pollux_sync.engine.reading",
    "pollux_sync.schemas.structuring",
    "pollux_sync.schemas.validating",
    "pollux_sync.wire.hosted",
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The modules that a fresh interpreter has after each stage, by the stage's name."""
    # A tool that measures the tests may have brought in modules of its own.
    bare = modules_after("", tmp_path_factory.mktemp("bare"))
    return {name: modules_after(script, tmp_path_factory.mktemp(name)) - bare for name, script in STAGES.items()}


def modules_after(script, folder):
    command = [sys.executable, "-I", "-c", f"{script}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return set(json.loads(found.stdout))


def among(modules, packages):
    return {name for name in modules if any(name == package or name.startswith(f"{package}.") for package in packages)}


def test_a_call_brings_in_nothing_of_tools_and_interactions(imported):
    assert among(imported["call"], {"pollux_sync.data.tool", "pollux_sync.data.output"}) == set()


@pytest.mark.parametrize("stage", ["text", "program"])
def test_a_question_without_files_brings_in_only_what_every_call_needs(imported, stage):
    assert among(imported[stage], FOR_SOME | HEAVY) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_vendor_sdk_and_no_event_loop_is_imported(imported, stage):
    assert among(imported[stage], NEVER) == set()


def test_import_brings_in_no_library_at_all(imported):
    assert among(imported["import"], HEAVY | {"attr", "attrs", "pluggy"}) == set()


def test_import_brings_in_only_the_front_door(imported):
    assert among(imported["import"], {"pollux_sync"}) == {"pollux_sync", "pollux_sync._lazy", "pollux_sync._version"}


def test_the_toolbox_of_commands_brings_in_nothing_else_of_the_core(imported):
    rooms = among(imported["command"], {"pollux_sync"}) - among(imported["command"], {"pollux_sync.commands"})
    assert rooms == among(imported["import"], {"pollux_sync"})


def test_config_and_source_bring_in_no_heavy_library(imported):
    assert among(imported["values"], HEAVY) == set()


def test_config_and_source_bring_in_no_engine(imported):
    assert among(imported["values"], {"pollux_sync.api", "pollux_sync.engine", "pollux_sync.wire"}) == set()


def test_first_mock_call_brings_in_no_heavy_library(imported):
    assert among(imported["call"], HEAVY) == set()


def test_first_mock_call_brings_in_no_other_provider(imported):
    assert {name for name in imported["call"] if name.startswith("pollux_")} == among(imported["call"], {"pollux_sync"})


CHAT = {"choices": [{"message": {"role": "assistant", "content": "Ada"}, "finish_reason": "stop"}]}
#: An answer of each provider that is sent as it stands, with the end of the address.
ANSWERS = {
    "openai": ("/v1", {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Ada"}]}]}),
    "anthropic": ("", {"content": [{"type": "text", "text": "Ada"}], "stop_reason": "end_turn"}),
    "gemini": ("", {"candidates": [{"content": {"parts": [{"text": "Ada"}]}, "finishReason": "STOP"}]}),
    "openrouter": ("/v1", CHAT),
    "local": ("/v1", CHAT),
}
ASK = """
from pollux_sync import Config, run
config = Config(provider={provider!r}, model="m", api_key="sk-test", base_url={base_url!r})
assert run("Who?", config=config)["answers"] == ["Ada"]
"""


@pytest.mark.parametrize("provider", ANSWERS)
def test_a_question_over_the_wire_brings_in_no_http_library_and_nothing_of_files_and_jobs(provider, tmp_path):
    version, body = ANSWERS[provider]
    # Compressed, as services answer.
    content = gzip.compress(json.dumps(body).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    with ScriptedServer(default=Answer(body=content, headers=headers)) as server:
        modules = modules_after(ASK.format(provider=provider, base_url=server.url + version), tmp_path)
    late = {f"pollux_{provider}.{name}" for name in ("batching", "files", "jobs", "paging", "services")}
    assert among(modules, HEAVY | NEVER | late | {"pollux_sync.data.jobs"}) == set()


def test_a_late_module_is_imported_with_the_first_of_its_names(tmp_path):
    script = """
import sys
from pollux_sync.plugin import import_late
late = import_late("json.tool")
assert repr(late) == "import_late('json.tool')" and "json.tool" not in sys.modules
assert late.main is sys.modules["json.tool"].main
assert not hasattr(late, "nothing_of_that_name")
"""
    assert "json.tool" in modules_after(script, tmp_path)
