"""What differs between models, as dated data: how much they say, and how they are told to think.

The forms of thinking and the names of efforts are those of the published OpenAPI document (May 2026) and of the
SDK's types (2.11). Which model takes which is what was known on 2026-11-21; the service's own word is
``GET /v1/models/{id}``, under ``capabilities``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from pollux_sync.data.request import Call

#: Tokens to think with, where a model takes a number and not an effort.
BUDGETS = {"low": 2048, "medium": 5120, "high": 10240, "max": 12288}
#: The service refuses smaller budgets.
MIN_BUDGET = 1024

_UP_TO_MAX = ("low", "medium", "high", "max")
_WITH_XHIGH = ("low", "medium", "high", "xhigh", "max")


@attrs.frozen(kw_only=True)
class ModelFacts:
    """What the models whose name holds ``pattern`` take.

    ``thinking``: "adaptive" models decide how much to think and take an effort, "manual" ones take a budget
    of tokens, "none" cannot think.
    """

    pattern: str
    thinking: Literal["none", "manual", "adaptive"]
    default_max_tokens: int = 16_384
    efforts: tuple[str, ...] = _UP_TO_MAX


#: The first row that matches wins. A Claude model of no row is newer than this table, so it is asked as the newest
#: are; a model that is no Claude is behind a compatible server, which knows the oldest form.
FACTS = (
    ModelFacts(pattern=r"claude-3[-.]5", thinking="none", default_max_tokens=8192),
    ModelFacts(pattern=r"claude-(3-(opus|sonnet|haiku)|2|instant)", thinking="none", default_max_tokens=4096),
    ModelFacts(pattern=r"claude-(opus|sonnet)-4[-.]6(?!\d)", thinking="adaptive"),
    ModelFacts(pattern=r"claude-(opus|sonnet|haiku)-4[-.]([7-9]|\d\d)(?!\d)", thinking="adaptive", efforts=_WITH_XHIGH),
    ModelFacts(pattern=r"claude-(3[-.]7|4-(opus|sonnet)|(opus|sonnet|haiku)-4(?!\d))", thinking="manual"),
    ModelFacts(pattern=r"claude", thinking="adaptive", efforts=_WITH_XHIGH),
    ModelFacts(pattern=r"", thinking="manual"),
)


@lru_cache(maxsize=256)
def find_facts(model: str) -> ModelFacts:
    """What is known of a model, by its name at Anthropic, Bedrock or Vertex."""
    name = model.lower()
    return next(facts for facts in FACTS if re.search(facts.pattern, name))


def find_call_facts(call: Call) -> ModelFacts:
    """What is known of a call's model; it thinks, by a budget of tokens, where the configuration alone says that."""
    facts = find_facts(call.model)
    is_said_to_think = any(call.capabilities.get(name) for name in ("reasoning_effort", "reasoning_budget_tokens"))
    return attrs.evolve(facts, thinking="manual") if facts.thinking == "none" and is_said_to_think else facts
