"""Words by which services say more of a fault than its status does: used-up quotas, full tiers, places not served.

The one table for the bodies of errors, the error events of streams and the rows of jobs. Its words come from the
vendors' documentation and from answers that their users report, read up to 2026-11-26; each row names the services
that use them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pollux_sync.errors import Fault, FaultKind

_PAY_HINT = "add credit, or raise the limit or the plan, in the provider's billing settings; waiting does not help"
_RENEWAL_HINT = "wait until the provider renews the quota, which takes hours or days, or raise it with another plan"
_SMALLER_HINT = "send less at once, ask for fewer max_tokens, or raise the limit at the provider; waiting does not help"
_FLEX_HINT = "raise RetryPolicy's limits, or ask with Options(service_tier='default'); nothing was charged"
_PLACE_HINT = "send from a place that the provider serves (a proxy, the region in base_url), or use another provider"


@attrs.frozen
class _Wording:
    """Words by which an answer with one of the statuses reports a fault, by default one that a retry cannot mend.

    ``words`` are searched in its codes and its message. The row does not apply if ``but_not`` is found there too.
    """

    kind: FaultKind
    hint: str
    statuses: frozenset[int]
    words: re.Pattern[str]
    but_not: re.Pattern[str] | None = None
    is_retryable: bool = False

    def applies(self, status: int, text: str) -> bool:
        """Return whether an answer with this status and text reports the fault."""
        is_named = status in self.statuses and bool(self.words.search(text))
        return is_named and not (self.but_not and self.but_not.search(text))


def _compile(*forms: str) -> re.Pattern[str]:
    return re.compile("|".join(forms), re.IGNORECASE | re.DOTALL)


#: An error inside a 200 may name no status.
_REFUSALS = frozenset({200, *range(400, 500)})
#: Without 400 and 422, whose messages quote schemas and arguments: they may be about money too.
_NO_QUOTES = _REFUSALS - {400, 422}
_PER_MINUTE = _compile(r"per[_ -]?(?:min|sec)", r"/ ?min", r"byminute", r"\b[tr]pm\b")

#: The first row that applies counts.
_WORDINGS = (
    # OpenAI, of its flex tier: https://platform.openai.com/docs/guides/flex-processing
    _Wording("capacity", _FLEX_HINT, frozenset({429}), _compile(r"resource[_ ]unavailable"), is_retryable=True),
    # One request alone exceeds the limit of a minute: OpenAI (429), Groq (413).
    _Wording("rate_limit", _SMALLER_HINT, frozenset({413, 429}), _compile(r"request too large .*\bper (?:min|day)")),
    _Wording(
        "quota",
        _PAY_HINT,
        _REFUSALS,
        _compile(
            r"insufficient_(?:\w+_)?(?:quota|balance|credits?|funds)",  # OpenAI, Perplexity, one-api
            r"exceeded_current_quota|FreeTierOnly|arrearage|AccountOverdue",  # Moonshot, Alibaba (twice), Volcengine
            r"billing_(?:hard_limit|not_active|error|disabled)",  # OpenAI (twice), Anthropic, Google
            r"credit balance is too low",  # Anthropic
            r"budget_exceeded|ExceededBudget",  # LiteLLM
            r"exceeded your \w+ included credits",  # Hugging Face
        ),
    ),
    _Wording(
        "quota",
        _PAY_HINT,
        _NO_QUOTES,
        _compile(
            r"insufficient (?:\w+ )?(?:quota|balance|credits?|funds)",  # DeepSeek, Zhipu, MiniMax, OpenRouter
            # SiliconFlow, Google's prepayment, NVIDIA, Alibaba's free tier
            r"(?:balance|credits?|funds|free tier[^.]{0,30}) (?:(?:is|are|was|has been|have been) )?"
            r"(?:too low|insufficient|not enough|depleted|exhausted|used up|expired)\b",
            r"(?:spend|spending|credit) (?:limit|cap)\b",  # xAI, Fireworks, Google's caps, Together
            r"used all available credits|out of credits|requires more credits|payment required",  # xAI, gateways
            r"check your billing details on|requires billing to be enabled",  # OpenAI, Google
        ),
    ),
    # Parts of the ids of Google's quotas (GenerateRequestsPerDayPerProjectPerModel-FreeTier), which may come beside
    # those of a minute, and of Vertex AI's metrics; GitHub Models (UserByModelByDay).
    _Wording(
        "quota",
        _RENEWAL_HINT,
        frozenset({403, 429}),
        re.compile(r"[a-z]Per(?:Day|Week|Month)|ByDay\b|_per_(?:day|week|month)"),
    ),
    _Wording(
        "quota",
        _RENEWAL_HINT,
        frozenset({429}),
        _compile(
            r"\bper[ -](?:day|week|month)\b",  # OpenAI, Groq (TPD), OpenRouter (free-models-per-day), Bedrock, Cerebras
            r"/ ?(?:day|week|month)\b",  # Cohere's trial keys: "1000 API calls / month"
            r"\b(?:daily|weekly|monthly) (?:\w+ ){0,2}(?:quota|limit|allocation|allowance)",  # Workers AI, Ollama
            r"\blimit: 0\b",  # Gemini, of a model that the free tier does not include
        ),
        # The message may praise a plan with more a day: it is about the minute nevertheless.
        _PER_MINUTE,
    ),
    # Anthropic, of the limit that its customer has set. The message says when the access returns.
    _Wording("quota", _RENEWAL_HINT, frozenset({400, 429}), _compile(r"specified API usage limits")),
    # OpenAI, of an account without money, if the code is missing; but Gemini says the same of the limit of a minute.
    _Wording(
        "quota",
        _PAY_HINT,
        frozenset({429}),
        _compile(r"exceeded your current quota"),
        _compile(r"RESOURCE_EXHAUSTED", r"retry in \d", r"googleapis", _PER_MINUTE.pattern),
    ),
    _Wording(
        "refused",
        _PLACE_HINT,
        _REFUSALS,
        _compile(r"unsupported_country", r"location is not supported for the API"),  # OpenAI, Gemini
    ),
    _Wording(
        "refused",
        _PLACE_HINT,
        frozenset({403, 451}),
        _compile(
            # xAI, OpenRouter, and OpenAI without a code
            r"not (?:available|supported|offered|allowed) in (?:your|this) (?:country|region|location|territory)",
            r"\b(?:country|region|territory|location)\b[^.]{0,40}\bnot (?:supported|available|allowed)",
            r"error code: 1009|banned the country",  # Cloudflare, in front of any service
        ),
    ),
    # "Payment required" says it without words.
    _Wording("quota", _PAY_HINT, frozenset({402}), _compile("")),
)
#: The numbers by which a service says that a request is larger than the limit: "Limit 30000, Requested 30601".
_LIMIT = re.compile(r"\blimit:? (\d[\d,]{0,15})", re.IGNORECASE)
_REQUESTED = re.compile(r"\brequested:? (\d[\d,]{0,15})", re.IGNORECASE)
#: The words stand near the beginning; searching a long page would only cost time.
_MAX_CHARS = 2000


def read_wording(fault: Fault, text: str) -> Fault:
    """Return the fault that the codes and the message in ``text`` report, or ``fault`` if they say no more."""
    status, text = fault.status_code or 0, text[:_MAX_CHARS]
    if status == 429 and _exceeds_limit(text):  # noqa: PLR2004
        return attrs.evolve(fault, hint=_SMALLER_HINT, retryable=False)
    row = next((row for row in _WORDINGS if row.applies(status, text)), None)
    return attrs.evolve(fault, kind=row.kind, hint=row.hint, retryable=row.is_retryable) if row else fault


def _exceeds_limit(text: str) -> bool:
    """Return whether a single request is larger than the limit."""
    limit, requested = _LIMIT.search(text), _REQUESTED.search(text)
    return bool(limit and requested and _parse_count(requested) > _parse_count(limit))


def _parse_count(match: re.Match[str]) -> int:
    return int(match[1].replace(",", ""))
