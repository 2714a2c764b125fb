"""Differences between models, as dated data: their limits, and the form in which they take reasoning options.

The forms of thinking and the names of efforts are those of the published OpenAPI document (May 2026) and of the SDK's
types (2.11). The assignment to models is as known on 2026-11-21; the service itself answers it in
``GET /v1/models/{id}``, under ``capabilities``. That models from 4.5 on refuse temperature beside top_p is from the
guide for migrating to them, https://platform.claude.com/docs/en/about-claude/models/migrating-to-claude-4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import attrs

from pollux_sync.plugin import find_model_row

if TYPE_CHECKING:
    from pollux_sync.plugin import Call

#: The budget of tokens for each effort, for models that take a number in place of an effort.
BUDGETS = {"low": 2048, "medium": 5120, "high": 10240, "max": 12288}
#: The smallest budget that the service accepts.
MIN_BUDGET = 1024

_UP_TO_MAX = ("low", "medium", "high", "max")
_WITH_XHIGH = ("low", "medium", "high", "xhigh", "max")


@attrs.frozen(kw_only=True)
class ModelFacts:
    """The facts about all models whose names match ``pattern``.

    ``thinking``: "adaptive" models decide how much they think and take an effort, "manual" ones take a budget of
    tokens, "none" cannot think. ``takes_one_sampling``: the model refuses temperature and top_p together.
    """

    pattern: str
    thinking: Literal["none", "manual", "adaptive"]
    default_max_tokens: int = 16_384
    efforts: tuple[str, ...] = _UP_TO_MAX
    takes_one_sampling: bool = False


#: The first row that matches wins, so special rows come before general ones. Patterns are searched anywhere in a name,
#: since Bedrock and Vertex put text around Anthropic's names; dots and hyphens in versions differ too.
FACTS = (
    ModelFacts(pattern=r"claude-3[-.]5", thinking="none", default_max_tokens=8192),
    ModelFacts(pattern=r"claude-(3-(opus|sonnet|haiku)|2|instant)", thinking="none", default_max_tokens=4096),
    # ``(?!\d)`` keeps a date from being read as a minor version: claude-opus-4-20250514 is version 4.
    ModelFacts(pattern=r"claude-(opus|sonnet|haiku)-4[-.]5(?!\d)", thinking="manual", takes_one_sampling=True),
    ModelFacts(pattern=r"claude-(opus|sonnet)-4[-.]6(?!\d)", thinking="adaptive", takes_one_sampling=True),
    ModelFacts(
        pattern=r"claude-(opus|sonnet|haiku)-4[-.]([7-9]|\d\d)(?!\d)",
        thinking="adaptive",
        efforts=_WITH_XHIGH,
        takes_one_sampling=True,
    ),
    ModelFacts(pattern=r"claude-(3[-.]7|4-(opus|sonnet)|(opus|sonnet|haiku)-4(?!\d))", thinking="manual"),
    # A Claude model that no row above names is newer than this table. It is treated as the newest known ones.
    ModelFacts(pattern=r"claude", thinking="adaptive", efforts=_WITH_XHIGH, takes_one_sampling=True),
    # Any other model is behind a compatible server, which knows the oldest form.
    ModelFacts(pattern=r"", thinking="manual"),
)


@lru_cache(maxsize=256)
def find_facts(model: str) -> ModelFacts:
    """Return the facts about a model, by its name at Anthropic, Bedrock or Vertex."""
    return find_model_row(FACTS, model)


def find_call_facts(call: Call) -> ModelFacts:
    """Return the facts about a call's model, corrected by the capabilities of the configuration."""
    facts = find_facts(call.model)
    # A user may declare that a model thinks, against this table. Then it is sent a budget, the older form.
    is_declared = any(call.capabilities.get(name) for name in ("reasoning_effort", "reasoning_budget_tokens"))
    return attrs.evolve(facts, thinking="manual") if facts.thinking == "none" and is_declared else facts
