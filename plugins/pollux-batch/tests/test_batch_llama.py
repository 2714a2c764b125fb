"""A job on a real model, in processes that are killed."""

import csv
import json
import os
import subprocess
import sys

import pytest

from pollux_batch import export_answers
from pollux_sync import Config
from tiny_gguf import ANSWER, write_tiny_gguf

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9")

RUN = """
import sys
from pollux_batch import BatchItem, stream_batch
from pollux_sync import Config, Options, Source

model, path = sys.argv[1:]
short, letter = Options(max_tokens=3), Source.from_text("Dear Ada, the lamp is lit again.")

def build(n):
    prompt = f"question {n}: " + "why? " * (n % 7)
    if n % 5 == 1:
        return BatchItem(prompt, id=f"short {n}", options=short)
    return BatchItem(prompt, id=f"letter {n}", sources=[letter]) if n % 5 == 2 else (f"plain {n}", prompt)

config = Config(provider="local", model=model)
for item in stream_batch(map(build, range(300)), config=config, journal=path, workers=4):
    print(item.success, item.replayed, item.item_id, flush=True)
"""


def start(model, path):
    command = [sys.executable, "-c", RUN, str(model), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def run_to_its_end(model, path):
    """Return the lines of a run: success, whether it was in the journal, and id."""
    with start(model, path) as process:
        lines = [line.rstrip().split(" ", 2) for line in process.stdout]
    assert process.returncode == 0
    return lines


def kill_at(n_lines, model, path):
    """Kill a run after so many results; return the ids of all that came out."""
    with start(model, path) as process:
        lines = [process.stdout.readline() for _ in range(n_lines)]
        process.kill()
        lines += process.stdout
    return {line.rstrip().split(" ", 2)[2] for line in lines if line.endswith("\n")}


def read_json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_csv_rows(path):
    with path.open(newline="") as file:
        return [{**row, "usage": json.loads(row["usage"])} for row in csv.DictReader(file)]


#: The formats of an export, and how a test reads them.
FORMATS = {".jsonl": read_json_lines, ".csv": read_csv_rows}


def read_facts(row):
    """Return what two runs have in common: no times, no trace ids, and not what was in llama.cpp's cache."""
    usage = row["usage"]
    return row["id"], row["output"], row["error"] or None, usage["input_tokens"], usage["output_tokens"]


def export(path, model):
    """Return the rows of a journal in each format."""
    exported = {}
    for suffix, read in FORMATS.items():
        file = path.with_suffix(suffix)
        export_answers(path, file, config=Config(provider="local", model=str(model)))
        exported[suffix] = sorted(map(read_facts, read(file)))
    return exported


@pytest.mark.soak
def test_on_a_real_model_two_kills_change_nothing_of_300_answers(soak, tmp_path):
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    undisturbed, killed = tmp_path / "undisturbed.journal", tmp_path / "killed.journal"
    run_to_its_end(model, undisturbed)
    seen = {*kill_at(soak.draw.randrange(100), model, killed), *kill_at(soak.draw.randrange(200), model, killed)}
    lines = run_to_its_end(model, killed)
    assert [success for success, _, _ in lines] == ["True"] * 300
    assert seen <= {label for _, replayed, label in lines if replayed == "True"}
    whole = export(undisturbed, model)
    assert export(killed, model) == whole
    assert all(rows == whole[".jsonl"] for rows in whole.values())
    outputs = {output for _, output, *_ in whole[".jsonl"]}
    assert (len(whole[".jsonl"]), len(outputs), ANSWER in outputs) == (300, 2, True)
