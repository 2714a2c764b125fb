"""Hooks around workflows: steps that change what goes on, or end the run."""

import pytest

from pollux_durable import HookAction, HookResult, RunFailedError, hook
from pollux_sync.errors import ConfigurationError


@hook
def add_one(ctx, hook_ctx):
    return HookResult.continue_with(modified_payload={"n": hook_ctx.current_payload["n"] + 1})


@hook
def double_output(ctx, hook_ctx):
    return HookResult.continue_with(modified_output=hook_ctx.current_output * 2)


def declare_plain(declare, **settings):
    @declare(**settings)
    def plain(ctx, payload: dict):
        return payload["n"]

    return plain


def test_changes_of_hooks_add_up(durable, declare):
    flow = declare_plain(declare, on_start=[add_one, add_one], on_end=[double_output, double_output])
    assert flow.run({"n": 1}, timeout=30) == 12


def test_a_hook_that_fails_ends_the_run(memory, declare, counted):
    @declare(on_start=lambda ctx, seen: HookResult.fail("not today"))
    def flow(ctx):
        counted("body")

    with pytest.raises(RunFailedError, match="not today"):
        flow.run(timeout=30)
    assert not counted.names


def test_a_hook_at_the_end_can_fail_too(memory, declare):
    flow = declare_plain(declare, on_end=lambda ctx, seen: HookResult.fail("not like this"))
    with pytest.raises(RunFailedError, match="not like this"):
        flow.run({"n": 1}, timeout=30)


def test_hooks_after_one_that_fails_are_not_called(memory, declare, counted):
    hooks = [lambda ctx, seen: HookResult.fail("no"), lambda ctx, seen: counted("second")]
    with pytest.raises(RunFailedError):
        declare_plain(declare, on_start=hooks).run({"n": 1}, timeout=30)
    assert not counted.names


def test_a_hook_is_called_once_however_often_the_run_is_replayed(memory, declare, counted):
    @declare(on_start=lambda ctx, seen: counted("hook"))
    def flow(ctx):
        ctx.step.wait_for("pause", seconds=0.2)

    flow.run(timeout=30)
    assert len(counted) == 1


def test_a_hook_that_raises_ends_the_run(memory, declare, counted):
    def broken(ctx, seen):
        counted("hook")
        raise ValueError("broken")

    with pytest.raises(RunFailedError, match="broken"):
        declare_plain(declare, on_start=broken).run({"n": 1}, timeout=30)
    assert len(counted) == 1


def test_a_hook_sees_the_run(memory, declare):
    seen = []
    flow = declare_plain(declare, on_start=lambda ctx, hook_ctx: seen.append((ctx, hook_ctx)))
    flow.run({"n": 1}, session_id="s", user_id="u", timeout=30)
    ((ctx, hook_ctx),) = seen
    assert (hook_ctx.workflow_id, hook_ctx.session_id, hook_ctx.user_id) == (flow.id, "s", "u")
    assert hook_ctx.current_payload == {"n": 1}
    assert ctx.workflow_id == flow.id


def test_a_decision_is_an_action():
    assert HookResult.fail("no").action == HookAction.FAIL == "fail"
    assert HookResult.continue_with().action == HookAction.CONTINUE


@pytest.mark.parametrize("hooks", ["name", [1]])
def test_what_cannot_be_called_is_no_hook(declare, hooks):
    with pytest.raises(ConfigurationError, match="a hook is"):
        declare_plain(declare, on_start=hooks)
