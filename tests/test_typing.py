"""What a type checker sees of a caller's script."""

import subprocess
import sys

import pytest

SCRIPT = """
from dataclasses import dataclass
from pollux_sync import Config, Options, Output, ResultEnvelope, Session
from pollux_sync import interact, outputs, run, run_many, run_tools, stream

@dataclass
class Invoice:
    number: str

@dataclass
class Receipt:
    number: str

def f(x: int) -> int:
    return x

config = Config(provider="openai", model="m", use_mock=True)
typed = Options(response_schema=Invoice)
plain = Options(temperature=0.5)
result = run("x", config=config, options=typed)
reveal_type(result["structured"][0])
reveal_type(run_many(["x"], config=config, options=typed)["structured"][0])
reveal_type(run_tools("x", tools=[f], config=config, options=typed)["structured"][0])
reveal_type(stream("x", config=config, options=typed).result()["structured"][0])
reveal_type(interact(input="x", config=config, options=typed).structured)
reveal_type(outputs(result)[0].structured)
reveal_type(Output(result).structured)
reveal_type(Session(config=config).run("x", options=typed)["structured"][0])
reveal_type(run("x", config=config)["structured"])
reveal_type(run("x", config=config, options=plain)["structured"])
reveal_type(run("x", config=config, options=Options(response_schema={"type": "object"}))["structured"])
either: Options[Invoice | Receipt] = Options(response_schema=Invoice | Receipt)
reveal_type(run("x", config=config, options=either)["structured"][0])

def keep(result: ResultEnvelope[Invoice], options: Options) -> ResultEnvelope:
    return run("x", config=config, options=options)
"""


@pytest.fixture(scope="module")
def types(tmp_path_factory):
    script = tmp_path_factory.mktemp("typing") / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", str(script)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    shown = [line.partition("Revealed type is ")[2] for line in run.stdout.splitlines()]
    return [one.strip('"').replace("script.", "") for one in shown]


def test_class_of_the_schema_is_followed_to_the_result(types):
    assert types[:8] == ["Invoice | None"] * 8


def test_without_a_class_the_result_is_anything(types):
    assert types[8:11] == ["list[Any | None]"] * 3


def test_union_is_followed_where_it_is_written_out(types):
    assert types[11] == "Invoice | Receipt | None"


def test_nothing_is_wrong_with_the_script(types):
    assert types[12:] == [""]  # "Success: ..."
