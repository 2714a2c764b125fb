"""Chat Completions as local servers understand it, and what one configuration declares of its server."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from pollux_sync.plugin import ChatDialect, Problem, SchemaDialect, find_json_word_problem

if TYPE_CHECKING:
    from pollux_sync.plugin import Call, Plan

#: llama.cpp answers 400 to a closed tuple and to a boolean schema, so tuples are sent as objects, which every server
#: enforces.
SCHEMAS = SchemaDialect(
    name="local",
    allows_tuples=False,
    as_of=date(2026, 11, 21),
    docs="https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md",
)

#: Local servers ignore fields that they do not support. llama.cpp compiles the schemas of tools to grammars too, so
#: they are lowered alike. It treats a tool_choice that names a tool as "auto", so that tool alone is sent, as required.
#: The templates of some models refuse a second system message, and turns that do not alternate. Models that think
#: between calls of tools need their reasoning again, and DeepSeek refuses the results without it
#: (https://api-docs.deepseek.com/guides/thinking_mode); without calls it must not be sent.
DIALECT = ChatDialect(
    effort_path=("reasoning_effort",),
    tool_schemas=SCHEMAS,
    names_tool=False,
    merges_turns=True,
    keeps_call_reasoning=True,
)
#: The dialect of hosts that have the newer name alone, such as OpenAI for its reasoning models.
_NEWER_DIALECT = attrs.evolve(DIALECT, max_tokens_field="max_completion_tokens")
#: Marks the calls of such a host, among their capabilities: an encoder sees its call, and no configuration.
_MARK = "max_completion_tokens"

#: The options that most local servers drop without an error, so that nobody would notice that they have no effect.
#: They are refused unless the configuration declares by ``takes_...`` that the server uses them.
DECLARED_OPTIONS = ("reasoning_effort", "service_tier")
#: The ends of the hosts of OpenAI's own service, which wants the word JSON in JSON mode.
_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")


def choose_dialect(call: Call) -> ChatDialect:
    """Return the dialect of a call's server."""
    return _NEWER_DIALECT if call.capabilities.get(_MARK) else DIALECT


def mark_calls(plan: Plan) -> Plan:
    """Return the plan with calls for which `choose_dialect` returns the dialect that the configuration declares."""
    config = plan.request.config
    if not config.provider_options.get("takes_max_completion_tokens"):
        return plan
    capabilities = {**config.capabilities, _MARK: True}
    return attrs.evolve(plan, calls=tuple(attrs.evolve(call, capabilities=capabilities) for call in plan.calls))


def find_problem(plan: Plan) -> Problem | None:
    """Return what the server would ignore or refuse, by what is known of it."""
    return _find_undeclared_option(plan) or _find_json_problem(plan)


def _find_undeclared_option(plan: Plan) -> Problem | None:
    options, config = plan.request.options, plan.request.config
    for name in DECLARED_OPTIONS:
        is_declared = config.provider_options.get(f"takes_{name}") or config.capabilities.get(name)
        if getattr(options, name) is not None and not is_declared:
            return Problem(
                f"most local servers ignore {name}",
                f"leave it out, or declare that your server uses it: Config(provider_options={{'takes_{name}': True}})",
            )
    return None


def _find_json_problem(plan: Plan) -> Problem | None:
    host = urlsplit(plan.request.config.base_url or "").hostname or ""
    if not host.endswith(_OPENAI_HOSTS):
        return None
    return next(filter(None, map(find_json_word_problem, plan.calls)), None)
