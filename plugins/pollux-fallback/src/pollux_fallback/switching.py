"""A call that failed -> its answer by the next configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pollux_sync.plugin import (
    APIError,
    Config,
    ConfigurationError,
    FaultKind,
    PolluxError,
    Reply,
    check_forwarding,
    forward_call,
    forward_stream,
    hookimpl,
    read_variable,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable, Iterator

    from pollux_sync.plugin import Call, Delta, Hooks, Plan

#: The failures that another provider need not have.
_DEFAULT_ON = ("capacity", "rate_limit", "quota", "connection", "timeout")


class Fallback:
    """Asks the next of several configurations where a call fails in a way that another one need not.

    * ``to``: the configurations, in order. Default: POLLUX_FALLBACK_TO, a list such as
      ``anthropic/claude-sonnet-4-5,openai/gpt-5-mini``.
    * ``on``: the kinds of failures after which the next one is asked, as in ``APIError.kind``. Default:
      POLLUX_FALLBACK_ON, separated by commas, else capacity, rate_limit, quota, connection and timeout.

    What another provider would refuse in a call is found before the first one is asked.
    """

    def __init__(self, *to: Config, on: Iterable[str] | None = None) -> None:
        self._to = to or _read_configs()
        self._on = _choose_kinds(on)
        for config in self._to:
            _check_config(config)

    @hookimpl(wrapper=True)
    def pollux_plan(self) -> Generator[None, Plan, Plan]:
        # Here and not in the constructor, by which a list of what is installed loads the plugin, too.
        if not self._to:
            raise ConfigurationError(
                "a fallback needs a configuration to fall back to",
                hint="pass Fallback(Config(provider=..., model=...)), or set POLLUX_FALLBACK_TO=provider/model",
            )
        plan = yield
        # The answers of a job come later, and a failed request can be deferred again.
        if not plan.is_deferred:
            for call in _list_different(plan):
                self._check(call)
        return plan

    @hookimpl
    def pollux_call(self, call: Call, proceed: Callable[[Call], Reply], hooks: Hooks, stop: threading.Event) -> Reply:
        failures: list[PolluxError] = []
        for config in (None, *self._to):
            try:
                reply = proceed(call) if config is None else forward_call(call, hooks, config, stop)
            except PolluxError as error:
                self._go_on(error, failures, stop)
            else:
                return _finish(reply, failures, call, hooks, config)
        raise _build_failure(failures)

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Hooks, stop: threading.Event
    ) -> Iterator[Delta | Reply]:
        self._check(call, is_streamed=True)
        failures: list[PolluxError] = []
        for config in (None, *self._to):
            has_begun = False
            try:
                for item in proceed(call) if config is None else forward_stream(call, hooks, config, stop):
                    has_begun = True
                    yield _finish(item, failures, call, hooks, config) if isinstance(item, Reply) else item
            except PolluxError as error:
                # What the caller has seen cannot be taken back.
                if has_begun:
                    raise
                self._go_on(error, failures, stop)
            else:
                return
        raise _build_failure(failures)

    def _check(self, call: Call, *, is_streamed: bool = False) -> None:
        """Raise what one of the others would refuse in a call, naming it."""
        for config in self._to:
            try:
                check_forwarding(call, config, is_streamed=is_streamed)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"the fallback to {_name(config)} cannot take this call: {error.message}", hint=error.hint
                ) from error

    def _go_on(self, error: PolluxError, failures: list[PolluxError], stop: threading.Event) -> None:
        """Keep a failure after which the next configuration is asked. Raises one after which none is."""
        # Others are not about a provider, such as the refusal of a budget.
        kind = error.kind if isinstance(error, APIError) else None
        if failures:
            error.attempts = (*failures[-1].attempts, *error.attempts)
        failures.append(error)
        if kind not in self._on or stop.is_set():
            raise _build_failure(failures)


def _finish(reply: Reply, failures: list[PolluxError], call: Call, hooks: Hooks, config: Config | None) -> Reply:
    """Return the reply with all attempts, and with a note of the switch if there was one."""
    if config is None:
        return reply
    note: dict[str, Any] = {
        "from": f"{hooks.info.name}/{call.model}",
        "to": _name(config),
        "failures": [{"kind": getattr(failure, "kind", None), "message": failure.message} for failure in failures],
    }
    return reply.with_attempts((*failures[-1].attempts, *reply.attempts)).add_note("fallback", note)


def _build_failure(failures: list[PolluxError]) -> PolluxError:
    """Return the last failure, which names those before it."""
    *earlier, last = failures
    for failure in earlier:
        last.add_note(f"before the fallback: {failure.message}")
    return last


def _list_different(plan: Plan) -> Iterator[Call]:
    """Yield one call for each set of parts: the others differ from it in their prompts alone."""
    previous = None
    for call in plan.calls:
        if call.index not in plan.refused and call.parts is not previous:
            previous = call.parts
            yield call


def _name(config: Config) -> str:
    return f"{config.provider.rpartition(':')[2]}/{config.model}"


def _read_configs() -> tuple[Config, ...]:
    listed = read_variable("POLLUX_FALLBACK_TO") or ""
    return tuple(_read_config(name.strip()) for name in listed.split(",") if name.strip())


def _read_config(name: str) -> Config:
    provider, slash, model = name.partition("/")
    if not slash:
        raise ConfigurationError(
            f"POLLUX_FALLBACK_TO names no model in {name!r}", hint="write provider/model, separated by commas"
        )
    # Without plugins: those of the environment may include this one.
    return Config(provider=provider, model=model, plugins=())


def _choose_kinds(on: Iterable[str] | None) -> frozenset[str]:
    if on is None:
        listed = read_variable("POLLUX_FALLBACK_ON")
        on = _DEFAULT_ON if listed is None else [kind.strip() for kind in listed.split(",") if kind.strip()]
    kinds = frozenset([on] if isinstance(on, str) else on)
    unknown = kinds - set(get_args(FaultKind))
    if unknown:
        raise ConfigurationError(
            f"there is no kind of failure {min(unknown)!r}", hint=f"use some of: {', '.join(get_args(FaultKind))}"
        )
    return kinds


def _check_config(config: object) -> None:
    if not isinstance(config, Config):
        raise ConfigurationError(
            f"a fallback takes Configs, got {type(config).__name__}", hint="Fallback(Config(provider=..., model=...))"
        )
    if any(isinstance(plugin, Fallback) or plugin == "fallback" for plugin in config.plugins or ()):
        raise ConfigurationError(
            f"the fallback to {_name(config)} has a fallback of its own",
            hint="list all configurations in one: Fallback(first, second), each with its own plugins=[...]",
        )
