import json
import os
import subprocess
import sys

import pytest

from bulk_service import Renderer, answer
from pollux_batch import run_batch
from pollux_batch.errors import DriftError
from pollux_sync import Config, ConfigurationError, Options, RawTool, Source, hookimpl
from pollux_sync.plugin import HttpResponse
from pollux_sync.testing.server import Events

PROMPTS = [f"p{number}" for number in range(10)]


def fill(ask, prompts=PROMPTS):
    result = ask(prompts)
    assert result.succeeded == len(prompts)
    return result


def test_answers_in_the_order_of_the_items(ask):
    assert ask(PROMPTS).outputs() == [f"re: {prompt}" for prompt in PROMPTS]


def test_pays_for_no_answer_twice(ask, server):
    fill(ask)
    again = ask(PROMPTS)
    assert again.outputs() == [f"re: {prompt}" for prompt in PROMPTS]
    assert all(result.replayed for result in again.results)
    assert len(server.requests) == 10


def test_charges_nothing_for_a_replayed_run(ask):
    fill(ask)
    again = ask(PROMPTS)
    assert (again.cost, again.usage, again.summary()["replayed"]) == (0, {}, 10)


def test_sends_every_item_anew_under_another_system_prompt(ask, server):
    fill(ask)
    ask(PROMPTS, options=Options(system_instruction="be brief"))
    assert len(server.requests) == 20


def test_reads_the_stored_answers_with_another_parser(ask, server):
    ask(PROMPTS, parser=lambda response: response.text)
    again = ask(PROMPTS, parser=lambda response: response.text.upper())
    assert again.outputs() == [f"RE: P{number}" for number in range(10)]
    assert len(server.requests) == 10


def test_asks_only_a_row_that_was_inserted_at_the_front(ask, server):
    fill(ask)
    result = ask(["new", *PROMPTS])
    assert result.outputs() == [f"re: {prompt}" for prompt in ["new", *PROMPTS]]
    assert server.prompts[10:] == ["new"]


def test_asks_equal_prompts_once(ask, server):
    result = ask(["same"] * 10)
    assert (result.outputs(), len(server.requests)) == (["re: same"] * 10, 1)
    assert [item.deduped_from for item in result.results] == [None, *["item_0"] * 9]


def test_asks_equal_prompts_apart_when_told_to(ask, server):
    assert ask(["same"] * 5, dedupe="never").succeeded == 5
    assert ask(["same"] * 5, dedupe="never").summary()["replayed"] == 5
    assert len(server.requests) == 5


def test_asks_equal_prompts_apart_at_a_temperature(ask, server):
    ask(["same"] * 5, options=Options(temperature=1.0))
    assert len(server.requests) == 5


def test_keeps_paid_answers_that_the_parser_refuses(ask, server):
    def refuse_two(response):
        if response.text in {"re: p1", "re: p3"}:
            raise ValueError("no number")
        return response.text

    first = ask(PROMPTS[:5], parser=refuse_two)
    assert [item.error for item in first.failures] == ["ValueError: no number"] * 2
    assert {item.error_category for item in first.failures} == {"parse_error"}
    assert ask(PROMPTS[:5], parser=lambda response: response.text).succeeded == 5
    assert len(server.requests) == 5


@pytest.mark.soak
def test_reads_10_000_stored_answers_with_another_parser_in_seconds(path):
    calls = []

    class Sender:
        """Answers without a network, and counts."""

        @hookimpl(tryfirst=True)
        def pollux_send(self, request):
            text = request.body["messages"][-1]["content"]
            calls.append(text)
            body = {"choices": [{"message": {"content": text[1:]}}], "usage": {}}
            return HttpResponse(status=200, headers={}, body=body)

    def refuse_two(response):
        if response.text in {"77", "7777"}:
            raise ValueError("no number")
        return -int(response.text)

    config = Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1", plugins=[Sender()])
    items = [f"p{number}" for number in range(10_000)]
    asked = run_batch(items, config=config, journal=path, parser=lambda response: int(response.text))
    partly = run_batch(items, config=config, journal=path, parser=refuse_two)
    mended = run_batch(items, config=config, journal=path, parser=lambda response: float(response.text))
    assert asked.outputs() == [*range(10_000)]
    assert [(failure.item_id, failure.error) for failure in partly.failures] == [
        *(("item_77", "ValueError: no number"), ("item_7777", "ValueError: no number"))
    ]
    assert [output for output in partly.outputs() if output is not None] == [
        *(-number for number in range(10_000) if number not in {77, 7777})
    ]
    assert mended.outputs() == [*map(float, range(10_000))]
    assert len(calls) == 10_000


def test_keeps_the_answer_at_which_a_parser_exits(ask, server):
    def leave(response):
        raise SystemExit(response.text)

    with pytest.raises(SystemExit, match="re: p0"):
        ask(["p0"], parser=leave)
    result = ask(["p0"])
    assert (result.summary()["replayed"], len(server.requests)) == (1, 1)


def test_resumes_from_a_journal_whose_log_was_cut(ask, path, server):
    # A process that is killed leaves its log, which SQLite reads as far as it is whole.
    script = (
        "import os, sys, pollux_batch, pollux_sync\n"
        "config = pollux_sync.Config(provider='local', model='m', base_url=sys.argv[1])\n"
        "for item in pollux_batch.stream_batch([f'p{n}' for n in range(10)], config=config, journal=sys.argv[2],"
        " workers=1):\n"
        "    if item.submission_index == 8: os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, f"{server.url}/v1", str(path)], check=True, env=os.environ)
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(log.read_bytes()[:-1_000])
    n_sent = len(server.requests)
    for _ in range(2):
        assert ask(PROMPTS).outputs() == [f"re: {prompt}" for prompt in PROMPTS]
    # The item in flight, and those of the torn tail.
    assert len(server.requests) - n_sent <= 3


def test_refuses_a_second_run_on_a_journal_by_the_process_that_has_it(ask, config, path):
    def start_another():
        yield "p0"
        run_batch(["p1"], config=config(), journal=path)

    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
        ask(start_another())
    assert ask(["p1"]).succeeded == 1


def test_refuses_to_share_a_journal_with_another_process(ask, config, path):
    script = (
        "import sys; from pathlib import Path; from pollux_batch.journaling import Journal\n"
        "Journal(Path(sys.argv[1]), print); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(ConfigurationError, match=f"in use by process {process.pid}"):
            ask(["p"])
        process.kill()
    # The lock ends with its process.
    assert ask(["p"]).succeeded == 1


@pytest.fixture
def newer(config):
    return config(plugins=[Renderer()])


def test_names_the_first_difference_of_a_request_before_any_call(ask, newer, server):
    fill(ask)
    with pytest.raises(DriftError, match="seed was null, and is 7 now") as caught:
        ask(PROMPTS, config=newer)
    assert (caught.value.path, caught.value.old, caught.value.new) == ("body.seed", "null", "7")
    assert len(server.requests) == 10


def test_resends_drifted_requests_when_told_to(ask, newer, server):
    fill(ask)
    assert ask(PROMPTS, config=newer, on_drift="resend").summary()["replayed"] == 0
    assert len(server.requests) == 20


def test_reuses_answers_of_drifted_requests_when_told_to(ask, newer, server):
    fill(ask)
    assert ask(PROMPTS, config=newer, on_drift="reuse").summary()["replayed"] == 10
    assert len(server.requests) == 10


def test_another_tool_of_the_service_makes_another_question(ask, server):
    for name in ("browser", "python"):
        options = Options(tools=[RawTool({"type": name}, provider="local")])
        assert ask(["p"], options=options).summary()["replayed"] == 0
    assert len(server.requests) == 2


def test_asks_for_more_samples_of_one_prompt(ask, server):
    ask(["same"] * 3, dedupe="never")
    assert ask(["same"] * 5, dedupe="never").summary()["replayed"] == 3
    assert len(server.requests) == 5


def test_counts_samples_alike_beside_a_row_that_cannot_be_asked(ask, config, server):
    class Redactor:
        @hookimpl
        def pollux_rewrite_call(self, call):
            if call.prompt == "secret":
                raise ValueError("cannot redact this")

    assert ask(["same", "same", "secret"], config=config(plugins=[Redactor()]), dedupe="never").failed == 1
    assert ask(["same", "same", "public"], dedupe="never").summary()["replayed"] == 2


def test_asks_anew_about_a_file_that_has_changed(ask, server, tmp_path):
    file = tmp_path / "notes.txt"
    for content in ("one", "two", "one"):
        file.write_text(content)
        assert ask(["what is in it?"], sources=[Source.from_file(file)]).succeeded == 1
    assert len(server.requests) == 2


def test_takes_no_answer_of_the_mock(ask, config, server):
    ask(PROMPTS, config=config(use_mock=True))
    assert ask(PROMPTS).summary()["replayed"] == 0
    assert len(server.requests) == 10


def test_keeps_an_answer_that_was_streamed_unasked(ask, server):
    chunk = {"choices": [{"index": 0, "delta": {"content": "in pieces"}, "finish_reason": "stop"}]}
    server.reply(Events([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()]))
    assert [ask(["a"]).outputs() for _ in range(2)] == [["in pieces"]] * 2
    assert len(server.requests) == 1


def test_pays_for_no_repair_twice(ask, server):
    options = Options(response_schema=int, schema_repairs=1)
    server.reply(answer("no number"), answer("7"))
    assert [ask(["a"], options=options).outputs() for _ in range(2)] == [[7]] * 2
    assert len(server.requests) == 2


def test_does_without_a_journal(config, server):
    result = run_batch(["a", "b", "a"], config=config())
    assert (result.outputs(), len(server.requests)) == (["re: a", "re: b", "re: a"], 2)


def test_tells_models_apart(ask, config, server):
    fill(ask)
    ask(PROMPTS, config=config(model="other"))
    assert len(server.requests) == 20


def test_works_with_the_mock(path):
    result = run_batch(PROMPTS, config=Config(provider="openai", model="m", use_mock=True), journal=path)
    assert result.succeeded == 10
