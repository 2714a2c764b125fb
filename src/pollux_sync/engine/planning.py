"""Request -> Plan of Calls: sources read or referenced, every option honoured or refused. Nothing is sent."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

# As a module, whose names are loaded on first use: most calls have no schema.
from pollux_sync import schemas
from pollux_sync.data.config import is_mock_account
from pollux_sync.data.options import NO_OPTIONS, OPTION_TRAITS
from pollux_sync.data.provider import Problem
from pollux_sync.data.request import Call, Conversation, Part, Plan, Request
from pollux_sync.engine.conversing import build_conversation
from pollux_sync.engine.encoding import try_raw
from pollux_sync.errors import ConfigurationError, PlanningError, PolluxError, copy_error

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pollux_sync.data.hosted import HostedTool
    from pollux_sync.data.options import Options
    from pollux_sync.data.provider import ProviderInfo
    from pollux_sync.data.request import Conversion
    from pollux_sync.data.source import Source
    from pollux_sync.engine.reading import ReadPart
    from pollux_sync.hooks.relay import Hooks
    from pollux_sync.schemas import AnswerFormat

#: The values that ask every provider for nothing, by option.
_OFF = {traits.name: traits.off for traits in OPTION_TRAITS}
_SECRETS_PROBLEM = Problem("the token of a RemoteMCP cannot be deferred: it would be in a file", "call run_many()")


def plan_calls(request: Request, hooks: Hooks, *, is_deferred: bool = False, is_dry_run: bool = False) -> Plan:
    """Build one call for each prompt, with every source (with ``per_source``: one for each prompt and source).

    Raises PlanningError, SourceError or ConfigurationError for whatever cannot work, before any side effect.
    """
    info, options = hooks.info, request.options
    hooks.hide(options.secrets)
    # Sources are read first: a loader that raises is found before any check of options, as in pollux-ai.
    request, parts, conversions = _read_sources(request, hooks)
    keeps_errors = request.per_source and options.on_error == "keep" and not is_dry_run
    errors = [part for part in parts if isinstance(part, PolluxError)]
    if errors and not keeps_errors:
        from pollux_sync.engine.reading import join_errors

        raise join_errors(errors, n_sources=len(parts))
    if is_deferred:
        _check_deferrable(request, info)
    _check_cache(request, info)
    _check_options(request, info)
    conversation = build_conversation(options, info.name, partial(_read_earlier_source, info=info))
    answers = _build_answer_format(request, info)
    calls, refused = _build_calls(request, parts, conversation, answers)
    # Middleware may change the plan, so it is checked again afterwards.
    plan = hooks.plan(
        Plan(
            request=request,
            calls=calls,
            answer_format=answers,
            is_deferred=is_deferred,
            is_dry_run=is_dry_run,
            refused=refused,
            conversions=conversions,
        )
    )
    _check_plan(plan, hooks)
    # A dry run sends nothing, so observers that count or log must not see it.
    if hooks.has_observers and not is_dry_run:
        from pollux_sync.data.events import PlanBuilt

        hooks.emit(PlanBuilt(plan))
    return plan


def _read_sources(request: Request, hooks: Hooks) -> tuple[Request, list[ReadPart], tuple[Conversion, ...]]:
    """Return the request with its sources as they are sent, the part or the error of each, and what was converted."""
    if not request.sources:
        return request, [], ()
    # Imported here, as all that reads sources: most calls have none.
    from pollux_sync.engine.converting import convert_sources
    from pollux_sync.engine.reading import read_sources

    converted = convert_sources(request.sources, hooks)
    if converted.conversions:
        request = attrs.evolve(request, sources=converted.sources, group_sizes=converted.group_sizes)
    parts = read_sources(request.sources, hooks.info)
    for index, error in converted.errors.items():
        parts[index] = error
    return request, parts, converted.conversions


def _read_earlier_source(source: Source, role: str, info: ProviderInfo) -> Part:
    from pollux_sync.engine.reading import read_earlier_source

    return read_earlier_source(source, role, info)


def _build_calls(
    request: Request, parts: Sequence[ReadPart], conversation: Conversation | None, answers: AnswerFormat | None
) -> tuple[tuple[Call, ...], dict[int, PolluxError]]:
    """Return the calls in the order of their answers, and the errors of those whose source cannot be used."""
    # One object for all calls: what calls share takes no memory per prompt.
    shared: dict[str, Any] = {
        "model": request.config.model,
        "options": request.options,
        "response_schema": answers.sent_schema if answers else None,
        "conversation": conversation,
        "capabilities": request.config.capabilities,
    }
    pairs = [(group, prompt) for group in _group_parts(request, parts) for prompt in request.prompts]
    # Lists inside tuple(): a generator costs more, and this runs once a prompt.
    calls = [
        Call(index=index, prompt=prompt, parts=group if isinstance(group, tuple) else (), **shared)
        for index, (group, prompt) in enumerate(pairs)
    ]
    refused = {
        index: copy_error(group, call_idx=index)
        for index, (group, _) in enumerate(pairs if request.per_source else ())
        if isinstance(group, PolluxError)
    }
    return tuple(calls), refused


def _group_parts(request: Request, parts: Sequence[ReadPart]) -> Sequence[tuple[Part, ...] | PolluxError]:
    """Return the parts that belong to each call of a prompt, or the error of a source that has a call of its own."""
    places = request.source_groups if request.per_source else [slice(None)]
    return [_join_parts(request, place, parts[place]) for place in places]


def _join_parts(request: Request, place: slice, parts: Sequence[ReadPart]) -> tuple[Part, ...] | PolluxError:
    usable = [part for part in parts if not isinstance(part, PolluxError)]
    if error := next((part for part in parts if isinstance(part, PolluxError)), None):
        return error
    if not (usable[1:] and request.options.label_sources):
        return tuple(usable)
    from pollux_sync.engine.reading import introduce_texts

    return introduce_texts(request.sources[place], usable)


def _check_deferrable(request: Request, info: ProviderInfo) -> None:
    options = request.options
    if options.delivery_mode == "deferred":
        raise ConfigurationError("defer() needs no delivery_mode", hint="leave it out")
    problem = find_deferral_problem(options, info)
    if problem is not None:
        raise ConfigurationError(problem.message, hint=problem.hint)
    if not request.prompts:
        raise ConfigurationError("a deferred job needs at least one prompt", hint="pass prompts=[...]")


def find_deferral_problem(options: Options, info: ProviderInfo, *, handled: Collection[str] = ()) -> Problem | None:
    """Return why calls with these options cannot be deferred, None if they can.

    ``handled`` are options that whoever submits the calls honours, although no job can.
    """
    if info.deferred is None:
        return Problem(
            f"provider {info.name!r} does not take deferred requests", "call run_many(), or use another provider"
        )
    if options.functions:
        return Problem(
            "functions cannot be deferred: nobody waits for their results",
            "leave them out, or call run_many(); tools that the provider runs can be deferred",
        )
    if options.secrets:
        return _SECRETS_PROBLEM
    refused = (traits.name for traits in options.iter_set() if "defer" in traits.refused_by)
    name = next((name for name in refused if name not in handled), None)
    if name is None:
        return None
    return Problem(f"{name} cannot be deferred", f"leave {_name_again(name)} out, or call run_many()")


def refuse_secrets(options: Options) -> None:
    """Raise ConfigurationError for secrets in the options of a deferred job."""
    if options.secrets:
        raise ConfigurationError(_SECRETS_PROBLEM.message, hint=_SECRETS_PROBLEM.hint)


def _check_cache(request: Request, info: ProviderInfo) -> None:
    cache, options = request.options.cache, request.options
    if cache is None:
        return
    # Providers refuse these too, but with an error that names none of our options.
    held = "the cache already holds its own; make a new cache to change it"
    problems = {
        f"the cache {cache.name!r} has expired": (cache.is_expired, "make a new one with create_cache"),
        f"the cache is for provider {cache.provider!r}, not {info.name!r}": (
            cache.provider != info.name,
            "use its config",
        ),
        f"the cache is for model {cache.model!r}, not {request.config.model!r}": (
            cache.model != request.config.model,
            "use its model",
        ),
        f"the cache {cache.name!r} was {'not ' * request.config.use_mock}made by the mock": (
            cache.account is not None and is_mock_account(cache.account) != request.config.use_mock,
            "use the config it was made with, or make a new one with create_cache",
        ),
        f"the cache {cache.name!r} is another account's": (
            None not in {cache.account, request.config.account} and cache.account != request.config.account,
            "use the key it was made with, or make a new one with create_cache",
        ),
        "system_instruction cannot go with a cache": (options.system_instruction is not None, held),
        "tools cannot go with a cache": (options.tools is not None, held),
        "tool_choice cannot go with a cache": (options.tool_choice is not None, held),
        "sources cannot go with a cache": (bool(request.sources), held),
    }
    for message, (is_wrong, hint) in problems.items():
        if is_wrong:
            raise ConfigurationError(message, hint=hint)


def _check_options(request: Request, info: ProviderInfo) -> None:
    options = request.options
    # The usual call sets nothing: it skips every check.
    if options is NO_OPTIONS:
        return
    _check_ruled_out(request)
    if options.delivery_mode == "deferred":
        raise ConfigurationError("delivery_mode='deferred' does not go with run()", hint="call defer() or defer_many()")
    for traits in options.iter_set():
        if traits.declared_as is not None and _is_set(traits.name, options):
            _require_declared(traits.declared_as, info)
    _check_cache_ttl(options, info)
    _check_conversation(request)
    _check_tool_names(options, info)
    for tool in options.hosted_tools:
        _check_hosted_tool(tool, info)
    if options.provider_options or options.provider_headers:
        from pollux_sync.engine.merging import check_raw  # for the few calls that have them

        check_raw(options, info)


def _check_ruled_out(request: Request) -> None:
    excluded = sorted(name for name in request.config.excluded_options if _is_set(name, request.options))
    if excluded:
        raise ConfigurationError(
            f"the model {request.config.model!r} does not take {', '.join(excluded)}, says Config(capabilities)",
            hint=f"leave {_name_again(*excluded)} out, or correct the capabilities",
        )


def _is_set(name: str, options: Options) -> bool:
    """Return whether an option asks the provider for something; what does not, any provider can honour."""
    if name == "history":
        return options.wants_conversation
    value = getattr(options, name, None)
    return value is not None and value != _OFF.get(name)


def _require_declared(name: str, info: ProviderInfo) -> None:
    if name not in info.options:
        raise ConfigurationError(
            f"provider {info.name!r} does not support {name}",
            hint=f"leave {_name_again(name)} out; {info.name!r} supports: "
            f"{', '.join(sorted(info.options)) or 'no options'}",
        )


def _check_cache_ttl(options: Options, info: ProviderInfo) -> None:
    ttl = options.implicit_caching
    known = info.prefix_caching.ttls if info.prefix_caching else frozenset()
    if isinstance(ttl, str) and ttl not in known:
        others = f", or one of: {', '.join(sorted(known))}" if known else ", which leaves that to the service"
        raise ConfigurationError(
            f"provider {info.name!r} cannot promise to keep what it caches for {ttl}",
            hint=f"pass implicit_caching=True{others}",
        )


def _name_again(*options: str) -> str:
    """Return the pronoun of options that were just named."""
    return "them" if len(options) > 1 or "tools" in options else "it"


def _check_conversation(request: Request) -> None:
    if not request.options.wants_conversation:
        return
    if len(request.prompts) != 1 or (request.per_source and len(request.source_groups) > 1):
        raise ConfigurationError(
            f"a conversation takes one prompt a call, got {len(request.prompts)}",
            hint="call run() once for each prompt, or drop history and continue_from",
        )


def _check_tool_names(options: Options, info: ProviderInfo) -> None:
    rule = info.tool_names
    wrong = [tool["name"] for tool in options.functions if rule and not re.fullmatch(rule.pattern, tool["name"])]
    if rule and wrong:
        raise ConfigurationError(
            f"provider {info.name!r} takes no tool that is called {wrong[0]!r}", hint=f"use {rule.about}"
        )


def _check_hosted_tool(tool: HostedTool, info: ProviderInfo) -> None:
    from pollux_sync.data.hosted import HOSTED_KINDS, RawTool

    name = type(tool).__name__
    honoured = info.hosted_tools.get(tool.kind)
    if isinstance(tool, RawTool) and tool.provider != info.name:
        raise ConfigurationError(
            f"a RawTool is for provider {tool.provider!r}, not {info.name!r}",
            hint="leave it out, or use the form of this provider",
        )
    if honoured is None:
        others = ", ".join(HOSTED_KINDS[kind].__name__ for kind in sorted(info.hosted_tools)) or "none"
        raise ConfigurationError(
            f"provider {info.name!r} has no {name}", hint=f"leave it out; the tools that {info.name!r} runs: {others}"
        )
    ignored = [] if isinstance(tool, RawTool) else [field for field, _ in tool.iter_set() if field not in honoured]
    if ignored:
        raise ConfigurationError(
            f"provider {info.name!r} does not honour {', '.join(ignored)} of {name}",
            hint=f"leave {_name_again(*ignored)} out; it honours: {', '.join(sorted(honoured)) or 'no field'}",
        )


def _build_answer_format(request: Request, info: ProviderInfo) -> AnswerFormat | None:
    wanted: Any = request.options.response_schema
    if wanted is None:
        return None
    if request.options.wants_json_object and not info.has_json_mode:
        raise ConfigurationError(
            f"provider {info.name!r} has no JSON mode, which response_schema=dict asks for",
            hint="pass a schema: a class, a JSON Schema, or dict[str, Any] for an object of any keys",
        )
    answers = schemas.answer_format(wanted, info.schema_dialect)
    # A schema that the provider cannot hold is refused here: its own refusal would cost a request.
    errors = [finding for finding in answers.lowered.findings if finding.severity == "error"]
    if errors:
        raise ConfigurationError(
            f"provider {info.name!r} cannot hold this response_schema: " + "; ".join(map(str, errors)),
            hint="simplify the type at the paths named",
        )
    return answers


def _check_plan(plan: Plan, hooks: Hooks) -> None:
    if [call.index for call in plan.calls] != list(range(len(plan.calls))):
        raise PlanningError(
            "a plugin's pollux_plan returned calls out of order",
            hint="number the calls 0..n-1 with attrs.evolve(call, index=...)",
        )
    for call in plan.calls:
        for problem in hooks.validate(call) if call.index not in plan.refused else ():
            raise ConfigurationError(problem.message, hint=problem.hint)
    # They write the same fields with the same options, so one shows what raw fields would replace.
    if first := next((call for call in plan.calls if call.index not in plan.refused), None):
        try_raw(first, hooks)
