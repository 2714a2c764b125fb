"""Payloads, results and the declarations of workflows: what fits, and what is refused at once."""

from dataclasses import dataclass

import attrs
import pydantic
import pytest

from pollux_durable import PayloadError, RunFailedError, StepExecutionError, get_handle, workflow
from pollux_durable.registry import registry
from pollux_sync.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("memory")


@attrs.frozen
class Order:
    item: str
    count: int = 1


@dataclass
class Address:
    city: str


class Person(pydantic.BaseModel):
    name: str
    age: int


VALUES = [Order("tea", 2), Address("Oslo"), Person(name="Ada", age=36)]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_typed_payloads_and_results_are_what_they_were(declare, value):
    tp = type(value)

    def flow(ctx, payload):
        assert type(payload) is tp
        return ctx.step.run("step", same, payload)

    def same(given):
        return given

    flow.__annotations__ = {"payload": tp, "return": tp}
    same.__annotations__ = {"return": tp}
    assert declare(flow).run(value, timeout=30) == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_typed_steps_are_what_they_were_in_each_replay(declare, value):
    tp = type(value)

    def make():
        return value

    make.__annotations__ = {"return": tp}

    @declare
    def flow(ctx):
        made = ctx.step.run("step", make)
        (mapped,) = ctx.step.map("map", lambda _: value, [1])
        ctx.step.wait_for("pause", seconds=0.2)
        return [made == value, type(made) is tp, isinstance(mapped, dict)]

    assert flow.run(timeout=30) == [True, True, True]


def test_a_payload_in_its_json_form_becomes_what_is_declared(declare):
    @declare
    def flow(ctx, payload: Order):
        return [type(payload) is Order, payload.count]

    assert flow.run({"item": "tea"}, timeout=30) == [True, 1]


def test_a_payload_may_be_one_of_several_types(declare):
    @declare
    def flow(ctx, payload: Order | Address):
        return type(payload).__name__

    assert flow.run({"item": "tea"}, timeout=30) == "Order"
    assert flow.run(Address("Oslo"), timeout=30) == "Address"


@pytest.mark.parametrize("payload", [{"item": 3}, {"wrong": "tea"}, "tea", [1]], ids=str)
def test_a_payload_that_does_not_fit_is_refused_at_once(declare, payload):
    @declare
    def flow(ctx, payload: Order):
        return 1

    with pytest.raises(PayloadError, match="does not fit its type"):
        flow.invoke(payload)


def test_a_missing_payload_is_refused_at_once(declare):
    @declare
    def flow(ctx, payload: dict):
        return 1

    with pytest.raises(PayloadError, match="is missing") as caught:
        flow.invoke()
    assert isinstance(caught.value, TypeError)


def test_a_missing_payload_takes_its_default(declare):
    @declare
    def optional(ctx, payload: dict | None):
        return payload

    @declare
    def defaulted(ctx, payload: dict = {"n": 1}):  # noqa: B006 - as a user may write it
        return payload

    assert optional.run(timeout=30) is None
    assert defaulted.run(timeout=30) == {"n": 1}


def test_a_payload_that_is_not_needed_is_ignored(declare):
    @declare
    def flow(ctx):
        return "fine"

    assert flow.run({"n": object()}, timeout=30) == "fine"


@pytest.mark.parametrize("payload", [{"f": object()}, {"n": float("nan")}], ids=["object", "nan"])
def test_a_payload_without_json_form_is_refused_at_once(declare, payload):
    @declare
    def flow(ctx, payload: dict):
        return 1

    with pytest.raises(PayloadError, match="has no JSON form"):
        flow.invoke(payload)


@pytest.mark.parametrize("where", ["result", "step"])
def test_a_result_without_json_form_fails_the_run(durable, declare, counted, where):
    @declare
    def flow(ctx):
        counted("body")
        return object() if where == "result" else ctx.step.run("step", object)

    with pytest.raises(RunFailedError, match="has no JSON form") as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "PayloadError"
    assert len(counted) == 1


@pytest.mark.parametrize(
    "function",
    [lambda: None, lambda ctx, a, b: None, lambda ctx, *rest: None, lambda ctx, *, key: None],
    ids=["none", "three", "many", "keyword"],
)
def test_another_number_of_parameters_is_refused(function):
    with pytest.raises(ConfigurationError, match=r"take \(ctx\) or \(ctx, payload\)"):
        workflow(id="x")(function)


async def coroutine(ctx):
    return 1


def test_a_coroutine_function_is_no_workflow():
    with pytest.raises(ConfigurationError, match="is a coroutine function"):
        workflow(coroutine)


def test_a_coroutine_function_is_no_step(declare):
    @declare
    def flow(ctx):
        ctx.step.run("step", coroutine)

    with pytest.raises(RunFailedError, match="the coroutine function 'coroutine'"):
        flow.run(timeout=30)


def test_what_cannot_be_called_is_no_step(declare):
    @declare
    def flow(ctx):
        ctx.step.run("step", "load")

    with pytest.raises(RunFailedError, match="a step is to call 'load'"):
        flow.run(timeout=30)


@pytest.mark.parametrize("key", ["", 1, None])
def test_a_key_that_is_no_text_is_refused(declare, key):
    @declare
    def flow(ctx):
        ctx.step.run(key, lambda: 1)

    with pytest.raises(RunFailedError, match="the key of a step is"):
        flow.run(timeout=30)


def test_a_key_that_is_used_twice_is_refused(declare, counted):
    @declare
    def flow(ctx):
        ctx.step.run("step", counted, "first")
        ctx.step.run("step", counted, "second")

    with pytest.raises(RunFailedError, match="two steps have the key 'step'") as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "DuplicateStepError"
    assert counted.names == ["first"]


def test_a_step_from_another_thread_is_refused(declare):
    from concurrent.futures import ThreadPoolExecutor

    @declare
    def flow(ctx):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ctx.step.run, "step", len, "abc").result()

    with pytest.raises(RunFailedError, match=r"another thread than its workflow.*") as caught:
        flow.run(timeout=30)
    assert caught.value.error_type == "ConfigurationError"


def test_two_workflows_of_one_id_are_refused(declare):
    declared = declare(lambda ctx: 1, id="taken")
    with pytest.raises(ConfigurationError, match="two workflows have the id 'taken'"):
        workflow(id="taken")(lambda ctx: 2)
    assert registry.find("taken") is declared


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_workflow_needs_an_id(name):
    with pytest.raises(ConfigurationError, match="the id of a workflow is"):
        workflow(id=name)(lambda ctx: 1)


def test_a_workflow_is_declared_with_and_without_parentheses():
    @workflow
    def bare(ctx):
        """Do nothing."""

    @workflow()
    def called(ctx):
        return 1

    assert [bare.id, called.id] == ["bare", "called"]
    assert bare.description == "Do nothing."
    assert repr(bare) == "Workflow('bare')"
    assert called(None) == 1
    for name in ["bare", "called"]:
        registry._workflows.pop(name)


@pytest.mark.parametrize("name", ["", " ", 5])
def test_a_run_needs_an_id_that_is_a_text(declare, name):
    with pytest.raises(ConfigurationError, match="the id of a run is"):
        declare(lambda ctx: 1, id="ids").invoke(execution_id=name)


def test_a_workflow_is_not_started_inside_of_another_one(declare):
    @declare
    def inner(ctx):
        return 1

    @declare
    def outer(ctx):
        return inner.run()

    with pytest.raises(RunFailedError, match="started inside of a workflow"):
        outer.run(timeout=30)


def test_an_unknown_workflow_is_refused_with_those_that_are_known(declare):
    @declare
    def flow(ctx):
        return ctx.step.invoke_and_wait("child", "nowhere")

    with pytest.raises(RunFailedError, match="no workflow 'nowhere' is declared"):
        flow.run(timeout=30)


def test_an_unknown_run_is_refused():
    with pytest.raises(ConfigurationError, match="there is no run 'nowhere'"):
        get_handle("nowhere")


def test_a_handle_knows_its_run(declare):
    flow = declare(lambda ctx: 1, id="known")
    handle = flow.invoke(session_id="s", user_id="u")
    handle.result(30)
    info = handle.get()
    assert info.to_dict()["status"] == "completed"
    assert (handle.workflow_id, handle.session_id, handle.user_id) == ("known", "s", "u")
    assert (handle.root_execution_id, handle.root_workflow_id) == (handle.id, "known")
    assert (handle.parent_execution_id, handle.step_key) == (None, None)
    assert handle.created_at <= info.started_at <= info.ended_at
    assert handle.id in repr(handle)


def test_the_failure_of_a_step_keeps_its_hint(declare):
    def fail():
        raise ConnectionError("gone")

    @declare
    def flow(ctx):
        try:
            ctx.step.run("step", fail, max_retries=0)
        except StepExecutionError as error:
            return error.message

    assert flow.run(timeout=30) == "step 'step' failed: ConnectionError: gone"
