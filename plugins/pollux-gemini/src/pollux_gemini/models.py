"""The differences between models, as dated data: if they think, and by which setting.

Checked on 2026-11-21 in the published OpenAPI document and in the types of google-genai 3.4: a level goes to Gemini 3
and later and is an error before; a model that cannot think refuses any setting; a budget of 0 switches thinking off;
the levels. The ranges of Gemini 2.5 and the budgets that stand for an effort are those of
https://ai.google.dev/gemini-api/docs/thinking and .../openai as of 2025; they could not be read again. That only Gemini
3 and later take a response schema beside tools is from .../structured-output, as of 2025.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import attrs

from pollux_sync.plugin import find_model_row

if TYPE_CHECKING:
    from pollux_sync.plugin import Call

#: Efforts that are sent as levels.
LEVELS = ("minimal", "low", "medium", "high", "xhigh")
#: The thinking budgets, in tokens, of efforts for models that take a number and not a level.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}


@attrs.frozen(kw_only=True)
class ModelFacts:
    """The thinking settings of models whose name matches ``pattern``.

    ``thinking``: "level" models take a level, or a budget; "budget" models only a budget of tokens, from
    ``min_budget`` to ``max_budget``; "none" cannot think. ``can_stop`` is false where thinking cannot be off.
    ``takes_tools_with_schema``: the model takes tools in a request that asks for JSON.
    ``combines_tools``: it takes functions beside tools of the service, by
    https://ai.google.dev/gemini-api/docs/tool-combination (2026-11).
    ``checks_signatures``: the model refuses an earlier call of a function without its thought signature.
    ``reads_result_parts``: a function's result may hold files, by
    https://ai.google.dev/gemini-api/docs/function-calling#multimodal (2026-11); others get them beside the result.
    """

    pattern: str
    thinking: Literal["none", "budget", "level"]
    min_budget: int = 1
    max_budget: int | None = None
    can_stop: bool = True
    takes_tools_with_schema: bool = False
    combines_tools: bool = False
    checks_signatures: bool = False
    reads_result_parts: bool = False

    @property
    def efforts(self) -> tuple[str, ...]:
        """The values of ``reasoning_effort`` that the model takes."""
        return {"none": (), "budget": tuple(BUDGETS), "level": LEVELS}[self.thinking]


#: The options by which the configuration may declare that a model thinks.
_REASONING = ("reasoning_effort", "reasoning_budget_tokens", "reasoning_summary")
#: The first matching row counts. The last row matches every name: a model that no other row knows is newer than this
#: table, and takes what the newest models take.
FACTS = (
    ModelFacts(pattern=r"gemini-(1\.|2\.0)", thinking="none"),
    ModelFacts(pattern=r"gemini-2\.5-pro", thinking="budget", min_budget=128, max_budget=32_768, can_stop=False),
    ModelFacts(pattern=r"gemini-2\.5-flash-lite", thinking="budget", min_budget=512, max_budget=24_576),
    ModelFacts(pattern=r"gemini-2\.5", thinking="budget", max_budget=24_576),
    ModelFacts(
        pattern=r"",
        thinking="level",
        takes_tools_with_schema=True,
        combines_tools=True,
        checks_signatures=True,
        reads_result_parts=True,
    ),
)


@lru_cache(maxsize=256)
def find_facts(model: str) -> ModelFacts:
    """Return the facts of a model, by its name at the Gemini API or Vertex AI. Cached: every call asks."""
    return find_model_row(FACTS, model)


def find_call_facts(call: Call) -> ModelFacts:
    """Return the facts of a call's model, including capabilities that only the configuration declares."""
    facts = find_facts(call.model)
    is_declared = any(call.capabilities.get(name) for name in _REASONING)
    return attrs.evolve(facts, thinking="level") if facts.thinking == "none" and is_declared else facts
