import itertools
import json
import threading

import attrs
import pytest

from pollux_durable import (
    Agent,
    AgentResult,
    CompactionConfig,
    GuardrailContext,
    GuardrailResult,
    HookResult,
    RunFailedError,
    WebSearchConfig,
    batch,
    create_ask_user_tool,
    create_web_search_tool,
    executed_tool,
    get_handle,
    guardrail,
    has_text,
    hook,
    max_steps,
    max_tokens,
    stop_condition,
    tool,
    workflow,
)
from pollux_durable.configuring import find_host
from pollux_sync import (
    AnswerFile,
    Citation,
    Config,
    ConfigurationError,
    HostedCall,
    Reply,
    Source,
    Tool,
    ToolCall,
    ToolFailure,
    Usage,
    WebSearch,
)
from pollux_sync.testing import Script, failing

pytestmark = pytest.mark.usefixtures("memory")
_numbers = itertools.count()


def name(stem):
    return f"{stem}-{next(_numbers)}"


def call(tool_name, arguments="{}", call_id="c1"):
    return Reply(tool_calls=(ToolCall(call_id, tool_name, arguments),), finish_reason="tool_calls")


def build(*answers, **settings):
    """Return an agent that gets these answers, and the script that gives them."""
    script = Script(*answers)
    config = Config(provider="openai", model="m", use_mock=True, plugins=(script,))
    return Agent(id=settings.pop("id", name("agent")), config=config, **settings), script


def build_tool(function=None, **settings):
    """Return a tool that records the arguments of its calls."""
    calls = []

    def double(ctx, n: int) -> int:
        """Double a number."""
        calls.append(n)
        return 2 * n

    return tool(id=name("double"), **settings)(function or double), calls


def read_history(script, index=-1):
    return [(turn["role"], turn["content"]) for turn in script.requests[index]["history"]]


def wait_for_step(handle, key):
    """Wait until a run below this one is suspended in a step; return the id of that run."""
    host = find_host()
    for event in handle.events(timeout=20):
        if event.event_type == f"suspend_{key}":
            return host.read_run(event.execution_id).execution_id
    raise AssertionError("the run ended before it was suspended")


# Answers


def test_answers_without_tools():
    agent, script = build("Paris.", system_prompt="Be short.")
    result = agent.run("Capital of France?")
    assert (result.result, result.total_steps, result.tool_results) == ("Paris.", 1, ())
    assert script.requests[0]["system"] == "Be short."
    assert read_history(script) == [("user", "Capital of France?")]


def test_sums_the_usage_of_all_calls():
    usage = Usage(input_tokens=3, output_tokens=2, total_tokens=5)
    double, _ = build_tool()
    agent, _ = build(
        attrs.evolve(call(double.id, '{"n": 2}'), usage=usage), Reply(text="4", usage=usage), tools=[double]
    )
    assert agent.run("2 * 2?").usage == {"input_tokens": 6, "output_tokens": 4, "total_tokens": 10}


def test_refuses_the_class_of_a_providers_tool():
    with pytest.raises(ConfigurationError, match="is the class WebSearch"):
        build("x", tools=[WebSearch])


def test_has_what_the_providers_own_tools_did():
    double, _ = build_tool()
    searches = [HostedCall(kind="web_search", name="web_search", id=one) for one in ("s1", "s2")]
    first = attrs.evolve(call(double.id, '{"n": 2}'), hosted_calls=searches[:1], files=(AnswerFile(id="f1"),))
    cited = Citation(url="https://a.example", start=0, end=2)
    last = Reply(text="4.", hosted_calls=searches[1:], citations=(cited,))
    agent, _ = build(first, last, first, last, tools=[double, WebSearch()])
    result = agent.run("2 * 2?")
    assert [one["id"] for one in result.hosted_calls] == ["s1", "s2"]
    assert result.files == ({"id": "f1"},)
    assert result.citations == ({"url": "https://a.example", "start": 0, "end": 2},)
    assert AgentResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_names_no_passage_of_a_text_that_a_guardrail_changed():
    @guardrail
    def shout(ctx, context):
        return GuardrailResult.continue_with(modified_content=f"Ah! {context.content}")

    agent, _ = build(Reply(text="4.", citations=(Citation(url="x", start=0, end=2),)), guardrails=shout)
    assert agent.run("2 * 2?").citations == ({"url": "x"},)


def test_reads_results_of_earlier_releases():
    stored = {"agent_run_id": "r1", "result": "4", "tool_results": [], "total_steps": 1, "usage": {}}
    assert AgentResult.from_dict(stored) == AgentResult(agent_run_id="r1", result="4", total_steps=1)


def test_passes_options_of_a_run_to_the_model():
    agent, script = build("a", temperature=0.1)
    agent.run("hi", temperature=0.9, max_tokens=7)
    assert (script.requests[0]["temperature"], script.requests[0]["max_tokens"]) == (0.9, 7)


def test_takes_texts_and_sources():
    agent, script = build("a picture")
    agent.run(["What is this?", Source.from_text("a note")])
    assert "a note" in str(script.requests[0])


@pytest.mark.parametrize("given", [None, [], 7, [object()], {"text": 5}])
def test_refuses_an_input_that_is_none(given):
    agent, script = build("a")
    with pytest.raises(ConfigurationError):
        agent.run(given)
    assert script.requests == []


def test_refuses_an_option_that_is_none():
    agent, script = build("a")
    with pytest.raises(ConfigurationError):
        agent.run("hi", temperature=-1)
    with pytest.raises((ConfigurationError, TypeError)):
        agent.run("hi", colour="red")
    assert script.requests == []


@attrs.frozen
class City:
    name: str
    people: int


def test_returns_the_type_of_its_output_schema():
    agent, _ = build('{"name": "Rome", "people": 3}', output_schema=City)
    assert agent.run("A city?").result == City("Rome", 3)


def test_returns_any_object_where_its_output_schema_is_a_dict():
    agent, _ = build('{"name": "Rome"}', output_schema=dict)
    assert agent.run("A city?").result == {"name": "Rome"}


def test_asks_again_for_an_answer_that_does_not_fit():
    agent, script = build("no city", '{"name": "Rome", "people": 3}', output_schema=City)
    assert agent.run("A city?").result == City("Rome", 3)
    assert len(script.requests) == 2


def test_fails_over_a_second_answer_that_does_not_fit():
    agent, script = build("no city", "again none", output_schema=City)
    with pytest.raises(RunFailedError, match="does not fit"):
        agent.run("A city?")
    assert len(script.requests) == 2


# Tools


def test_runs_the_tools_that_the_model_calls():
    double, calls = build_tool()
    agent, script = build(call(double.id, '{"n": 4}'), "It is 8.", tools=[double])
    result = agent.run("Double 4")
    assert (result.result, calls) == ("It is 8.", [4])
    assert [(one.tool_name, one.status, one.result) for one in result.tool_results] == [(double.id, "completed", 8)]
    assert read_history(script)[-1] == ("tool", "8")


def test_runs_the_tools_of_one_step_side_by_side():
    barrier = threading.Barrier(2, timeout=20)

    def meet(ctx, who: str) -> str:
        barrier.wait()
        return who

    meeting, _ = build_tool(meet)
    calls = (ToolCall("a", meeting.id, '{"who": "Ann"}'), ToolCall("b", meeting.id, '{"who": "Bob"}'))
    agent, script = build(Reply(tool_calls=calls), "met", tools=[meeting])
    assert [one.result for one in agent.run("Meet").tool_results] == ["Ann", "Bob"]
    assert read_history(script)[-2:] == [("tool", "Ann"), ("tool", "Bob")]


def test_runs_a_tool_that_is_a_step_in_the_run_of_the_agent():
    double, calls = build_tool(step=True)
    agent, _ = build(call(double.id, '{"n": 4}'), "8", tools=[double])
    handle = agent.invoke("Double 4")
    assert (handle.result(20).result, calls) == ("8", [4])
    assert "tool:1[0]" in [step.key for step in find_host().engine.list_steps(handle.id)]


def test_runs_a_tool_of_the_core_as_a_step():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    double = Tool(name="double_core", function=lambda n: 2 * n, description="Double.", parameters=schema)
    agent, script = build(call("double_core", '{"n": 2}'), call("double_core", '{"n": "x"}'), "4.", tools=[double])
    result = agent.run("2 * 2?")
    assert result.tool_results[0].content == "4"
    assert [one.is_error for one in result.tool_results] == [False, True]
    assert script.requests[0]["tools"] == [{"name": "double_core", "description": "Double.", "parameters": schema}]


def test_reads_a_failure_that_a_tool_returns():
    failing_tool = Tool.from_function(lambda: ToolFailure("no such city"), name="failing_core")
    agent, script = build(call("failing_core"), "Sorry.", tools=[failing_tool])
    (result,) = agent.run("?").tool_results
    assert (result.is_error, result.content, result.error) == (True, "no such city", "no such city")
    assert script.requests[1]["history"][-1]["is_error"]


def test_refuses_a_tool_of_the_core_that_skips_parameters():
    with pytest.raises(ConfigurationError, match="takes 1 values"):
        build("a", tools=[Tool.from_function(lambda ctx, n: n, name="skipping", skip=1)])


@pytest.mark.parametrize("as_step", [False, True])
def test_tells_the_model_of_a_tool_that_fails(as_step):
    def fail(ctx) -> str:
        raise ValueError("no such file")

    failing, _ = build_tool(fail, step=as_step)
    agent, script = build(call(failing.id), "Sorry.", tools=[failing])
    result = agent.run("Try")
    assert (result.result, result.tool_results[0].status) == ("Sorry.", "failed")
    assert "no such file" in read_history(script)[-1][1]


def test_calls_a_tool_that_fails_once():
    calls = []

    def fail(ctx) -> str:
        calls.append(1)
        raise ValueError("no")

    failing, _ = build_tool(fail)
    agent, _ = build(call(failing.id), "Sorry.", tools=[failing])
    agent.run("Try")
    assert calls == [1]


@pytest.mark.parametrize("arguments", ['{"n": "many"}', "{", '{"m": 1}', "[]"])
def test_tells_the_model_of_arguments_that_do_not_fit(arguments):
    double, calls = build_tool()
    agent, script = build(call(double.id, arguments), "Sorry.", tools=[double])
    assert agent.run("Try").tool_results[0].is_error
    assert calls == []
    assert script.requests[-1]["history"][-1]["is_error"]


def test_tells_the_model_of_a_tool_that_does_not_exist():
    double, _ = build_tool()
    agent, script = build(call("triple"), "Sorry.", tools=[double])
    agent.run("Try")
    assert double.id in read_history(script)[-1][1]


def test_answers_calls_with_the_same_id():
    double, _ = build_tool()
    calls = (ToolCall("a", double.id, '{"n": 1}'), ToolCall("b", double.id, '{"n": 2}'))
    agent, _ = build(Reply(tool_calls=calls), "done", tools=[double])
    assert [one.result for one in agent.run("Go").tool_results] == [2, 4]


def test_takes_one_record_as_the_parameters_of_a_tool():
    @tool(id=name("move"))
    def move(ctx, city: City) -> str:
        """Move to a city."""
        return f"moved to {city.name}"

    assert set(move.declaration["parameters"]["properties"]) == {"name", "people"}
    agent, _ = build(call(move.id, '{"name": "Rome", "people": 3}'), "done", tools=[move])
    assert agent.run("Move").tool_results[0].result == "moved to Rome"


def test_runs_a_tool_by_itself():
    double, _ = build_tool()
    assert double.run({"n": 4}) == 8


def test_gives_tools_steps_of_their_own():
    def wait(ctx) -> str:
        ctx.step.wait_for("nap", seconds=0.05)
        return ctx.step.run("say", lambda: "awake")

    waiting, _ = build_tool(wait)
    agent, _ = build(call(waiting.id), "done", tools=[waiting])
    assert agent.run("Sleep").tool_results[0].result == "awake"


@pytest.mark.parametrize("settings", [{"approval": "maybe"}, {"approval": "always", "step": True}])
def test_refuses_a_tool_that_cannot_work(settings):
    with pytest.raises(ConfigurationError):
        build_tool(**settings)


def test_refuses_a_function_that_is_no_tool():
    with pytest.raises(ConfigurationError, match="@tool"):
        build("a", tools=[lambda ctx: None])


# Approvals and questions


def test_waits_for_the_approval_of_a_tool():
    double, calls = build_tool(approval="always")
    agent, _ = build(call(double.id, '{"n": 4}'), "8", tools=[double])
    handle = agent.invoke("Double 4")
    waiting = wait_for_step(handle, "approval")
    assert calls == []
    get_handle(waiting).answer("approval", {"approved": True})
    assert (handle.result(20).result, calls) == ("8", [4])


def test_tells_the_model_why_a_tool_was_not_approved():
    double, calls = build_tool(approval="always")
    agent, script = build(call(double.id, '{"n": 4}'), "As you wish.", tools=[double])
    handle = agent.invoke("Double 4")
    get_handle(wait_for_step(handle, "approval")).answer("approval", {"approved": False, "feedback": "too big"})
    assert handle.result(20).tool_results[0].is_error
    assert "too big" in read_history(script)[-1][1]
    assert calls == []


def test_asks_the_user():
    ask = create_ask_user_tool()
    arguments = '{"question": "Which colour?", "fields": [{"key": "colour", "label": "Colour"}]}'
    agent, script = build(call(ask.id, arguments), "Blue it is.", tools=[ask])
    handle = agent.invoke("Paint")
    get_handle(wait_for_step(handle, "ask_user")).answer("ask_user", {"colour": "blue"})
    assert handle.result(20).result == "Blue it is."
    assert "blue" in read_history(script)[-1][1]


def test_searches_the_web_by_a_function():
    asked = []

    def search(query, options):
        asked.append((query, options))
        return [{"title": "Rome", "url": "https://example.org"}]

    web = create_web_search_tool(WebSearchConfig(search=search, max_results=2), name=name("search"))
    agent, script = build(call(web.id, '{"query": "Rome"}'), "Found.", tools=[web])
    agent.run("Search")
    assert asked == [("Rome", {"max_results": 2, "topic": "general"})]
    assert "example.org" in read_history(script)[-1][1]


# Ends


def test_has_the_provider_run_tools():
    double, _ = build_tool()
    agent, script = build("It is so.", tools=[double, WebSearch(max_uses=1)])
    assert agent.run("Is it so?").result == "It is so."
    (asked,) = script.requests
    assert asked["hosted_tools"] == [{"type": "web_search", "fields": {"max_uses": 1}}]
    assert [one["name"] for one in asked["tools"]] == [double.id]


def test_stores_no_secret_header_of_a_run():
    agent, _ = build("Hi.")
    headers = {"openai": {"X-Team": "lighthouse"}}
    assert agent.run("Hi?", provider_headers=headers).result == "Hi."
    with pytest.raises(ConfigurationError, match="X-Team-Token may be secret"):
        agent.run("Hi?", provider_headers={"openai": {"X-Team-Token": "abc"}})


def test_stops_after_ten_steps():
    double, calls = build_tool()
    agent, _ = build(*[call(double.id, '{"n": 1}') for _ in range(12)], tools=[double])
    assert agent.run("Go on").total_steps == len(calls) == 10


@stop_condition
def stops_at_once(ctx):
    return True


@stop_condition
def stops_at(ctx, config):
    return len(ctx.steps) >= config["count"]


@pytest.mark.parametrize(
    ("condition", "steps"),
    [
        (max_steps(2), 2),
        (has_text("two"), 2),
        (max_tokens(4), 2),
        (stops_at_once, 1),
        (stops_at({"count": 3}), 3),
    ],
)
def test_stops_when_a_condition_is_met(condition, steps):
    double, _ = build_tool()
    texts = ["one", "two", "three", "four"]
    usage = Usage(total_tokens=2)
    answers = [attrs.evolve(call(double.id, '{"n": 1}'), text=text, usage=usage) for text in texts]
    agent, _ = build(*answers, tools=[double], stop_conditions=[condition])
    assert agent.run("Go on").total_steps == steps


def test_stops_after_a_tool():
    double, _ = build_tool()
    agent, _ = build(call(double.id, '{"n": 1}'), "more", tools=[double], stop_conditions=[executed_tool(double.id)])
    assert agent.run("Go").total_steps == 1


# Guardrails


def test_asks_again_when_a_guardrail_rejects_an_answer():
    @guardrail
    def no_shouting(seen: GuardrailContext):
        return GuardrailResult.fail("do not shout") if seen.content.isupper() else GuardrailResult.continue_with()

    agent, script = build("HELLO", "hello", guardrails=[no_shouting])
    assert agent.run("Greet").result == "hello"
    assert "do not shout" in read_history(script)[-1][1]


def test_fails_after_three_answers_that_a_guardrail_rejects():
    agent, script = build("a", "b", "c", "d", guardrails=lambda seen: GuardrailResult.fail("never"))
    with pytest.raises(RunFailedError, match="never"):
        agent.run("Try")
    assert len(script.requests) == 3


def test_lets_guardrails_change_what_the_model_wrote():
    @guardrail
    def mask(ctx, seen):
        assert ctx.agent_id == seen.agent_id
        return GuardrailResult.continue_with(modified_content=seen.content.replace("secret", "***"))

    @guardrail
    def drop_tools(seen):
        return GuardrailResult.continue_with(modified_tool_calls=[])

    double, calls = build_tool()
    answer = attrs.evolve(call(double.id, '{"n": 1}'), text="a secret")
    agent, _ = build(answer, tools=[double], guardrails=[mask, drop_tools])
    result = agent.run("Tell")
    assert (result.result, calls) == ("a ***", [])


def test_judges_by_a_rule_in_words():
    verdicts = ['{"passed": false, "reason": "rude"}', '{"passed": true, "reason": ""}']
    agent, script = build("Go away.", verdicts[0], "Welcome.", verdicts[1], guardrails=["Be polite."])
    assert agent.run("Greet").result == "Welcome."
    assert "Be polite." in str(script.requests[1])


def test_does_not_let_pass_what_nobody_could_judge():
    agent, _ = build("Hi.", "?", "?", "Hi.", "?", "?", "Hi.", "?", "?", guardrails="Be polite.")
    with pytest.raises(RunFailedError, match="no verdict"):
        agent.run("Greet")


# Hooks


def test_calls_hooks_around_steps_and_tools():
    seen = []

    def note(what):
        @hook
        def noting(ctx, hook_ctx):
            seen.append((what, hook_ctx.current_tool))

        return noting

    double, _ = build_tool()
    agent, _ = build(
        call(double.id, '{"n": 1}'),
        "2",
        tools=[double],
        on_start=note("start"),
        on_end=note("end"),
        on_agent_step_start=note("step"),
        on_agent_step_end=note("step end"),
        on_tool_start=note("tool"),
        on_tool_end=note("tool end"),
    )
    agent.run("Go")
    assert seen == [
        ("start", None),
        ("step", None),
        ("tool", double.id),
        ("tool end", double.id),
        ("step end", None),
        ("step", None),
        ("step end", None),
        ("end", None),
    ]


def test_lets_hooks_change_messages_arguments_and_results():
    def rename(ctx, seen):
        messages = [{**one, "content": one["content"].replace("Bob", "B.")} for one in seen.current_payload["messages"]]
        return HookResult.continue_with(modified_payload={**seen.current_payload, "messages": messages})

    double, calls = build_tool()
    agent, script = build(
        call(double.id, '{"n": 1}'),
        "done",
        tools=[double],
        on_agent_step_start=rename,
        on_tool_start=lambda ctx, seen: HookResult.continue_with(modified_payload={"n": 5}),
        on_tool_end=lambda ctx, seen: HookResult.continue_with(modified_output=f"<{seen.current_output}>"),
    )
    agent.run("Ask Bob")
    assert calls == [5]
    assert read_history(script, 0) == [("user", "Ask B.")]
    assert read_history(script)[-1] == ("tool", "<10>")


def test_gives_each_tool_the_output_of_its_own():
    double, _ = build_tool()
    calls = (ToolCall("a", double.id, '{"n": 1}'), ToolCall("b", double.id, '{"n": 2}'))
    agent, script = build(
        Reply(tool_calls=calls),
        "done",
        tools=[double],
        on_tool_end=lambda ctx, seen: HookResult.continue_with(modified_output=f"<{seen.current_output}>"),
    )
    agent.run("Go")
    assert [text for _, text in read_history(script)[-2:]] == ["<2>", "<4>"]


def test_ends_the_run_when_a_hook_says_so():
    agent, script = build("a", on_start=lambda ctx, seen: HookResult.fail("not today"))
    with pytest.raises(RunFailedError, match="not today"):
        agent.run("Go")
    assert script.requests == []


# Sessions


def test_remembers_a_session():
    agent, script = build("Hello Ann.", "Ann.", "Who?")
    agent.run("I am Ann.", session_id="ann")
    assert agent.run("Who am I?", session_id="ann").result == "Ann."
    agent.run("Who am I?", session_id="bob")
    histories = [read_history(script, index) for index in range(3)]
    assert histories[1] == [("user", "I am Ann."), ("assistant", "Hello Ann."), ("user", "Who am I?")]
    assert histories[2] == [("user", "Who am I?")]


def test_goes_on_with_the_session_of_a_run():
    agent, script = build("Hello Ann.", "Ann.")
    handle = agent.invoke("I am Ann.")
    handle.result(20)
    agent.run("Who am I?", session_id=handle.session_id)
    assert len(read_history(script)) == 3


def test_folds_old_messages_into_a_summary():
    limits = CompactionConfig(max_conversation_tokens=60, max_summary_tokens=20, min_recent_messages=1)
    agent, script = build("x" * 200, "y", "z", compaction=limits)
    script.on("Summarize the conversation", "They talked.")
    for prompt in ("one", "two", "three"):
        agent.run(prompt, session_id="long")
    history = read_history(script)
    assert "They talked." in history[0][1]
    assert history[2:] == [("user", "two"), ("assistant", "y"), ("user", "three")]


def test_drops_old_messages_where_no_summary_can_be_had():
    limits = CompactionConfig(max_conversation_tokens=60, max_summary_tokens=20, min_recent_messages=1)
    agent, script = build("x" * 200, "y", compaction=limits)
    script.on("Summarize the conversation", failing(400))
    agent.run("one", session_id="lost")
    agent.run("two", session_id="lost")
    assert read_history(script) == [("user", "two")]


def test_shortens_a_summary_that_is_too_long():
    limits = CompactionConfig(max_conversation_tokens=60, max_summary_tokens=5, min_recent_messages=1)
    agent, script = build("x" * 200, "y", compaction=limits)
    script.on("Summarize the conversation", "w" * 100, "short")
    agent.run("one", session_id="wordy")
    agent.run("two", session_id="wordy")
    assert read_history(script)[0] == ("user", "Summary of the conversation so far:\nshort")


def test_keeps_a_memory_that_shall_not_be_shortened():
    limits = CompactionConfig(max_conversation_tokens=60, max_summary_tokens=20, enabled=False)
    agent, script = build("x" * 400, "y", compaction=limits)
    agent.run("one", session_id="whole")
    agent.run("two", session_id="whole")
    assert len(read_history(script)) == 3


def test_refuses_limits_that_exclude_each_other():
    with pytest.raises(ConfigurationError, match="max_summary_tokens"):
        CompactionConfig(max_conversation_tokens=10, max_summary_tokens=10)


# Other agents, batches, streams


def test_runs_agents_inside_of_workflows():
    agent, _ = build("one", "two", "three")

    @workflow(id=name("parent"))
    def parent(ctx):
        first = ctx.step.agent_invoke_and_wait("first", agent.with_input("1"))
        handle = ctx.step.agent_invoke("second", agent.with_input("2"))
        second = ctx.step.wait_for("second result", handle)
        (third,) = ctx.step.batch_agent_invoke_and_wait("third", [agent.with_input("3", temperature=0.5)])
        return [first.result, second.result, third.result.result]

    assert parent.run() == ["one", "two", "three"]


def test_runs_many_at_once():
    agent, _ = build("a", "a", "a")
    results = batch.run(agent.id, ["1", "2", "3"])
    assert [one.result.result for one in results] == ["a", "a", "a"]


def test_streams_the_text_of_its_steps():
    double, _ = build_tool()
    agent, _ = build(call(double.id, '{"n": 4}'), "It is eight of course", tools=[double])
    stream = agent.stream("Double 4")
    kinds = [event.event_type for event in stream.events]
    assert kinds[:3] == ["stream_start", "tool_start", "tool_finish"]
    assert kinds[3:5] == ["stream_start", "text_delta"]
    assert kinds[-1] == "agent_finish"
    assert "".join(stream.text_chunks) == stream.text() == "It is eight of course"
    assert stream.result().result == "It is eight of course"
    assert stream.get().status == "completed"


def test_streams_nothing_that_a_guardrail_may_take_back():
    agent, _ = build(
        "BAD", "good words", guardrails=lambda s: GuardrailResult.fail("no") if s.content == "BAD" else None
    )
    stream = agent.stream("Go")
    assert [event.data["content"] for event in stream.events if event.event_type == "text_delta"] == ["good words"]


def test_ends_a_stream_with_the_failure_of_its_run():
    agent, _ = build(on_start=lambda ctx, seen: HookResult.fail("not today"))
    with pytest.raises(RunFailedError, match="not today"):
        agent.stream("Go").text()


@pytest.mark.parametrize(
    "settings",
    [{}, {"provider": "openai"}, {"provider": "openai", "model": "m", "on_change": "x"}, {"colour": "red"}],
)
def test_refuses_settings_that_cannot_work(settings):
    with pytest.raises(ConfigurationError):
        Agent(id=name("bad"), **settings)
