"""The calls and tokens that a provider allows in a time, and those that a call is expected to take."""

from __future__ import annotations

import attrs

from pollux_sync._values import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Quota(Value):
    """One quota as an answer reports it; a field that it does not report is None.

    ``limit`` is the most in one window, ``remaining`` what is left of it now. After ``reset_s`` seconds the window is
    whole again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RateLimits(Value):
    """The quotas that an answer reports, None for one that it does not.

    ``input_tokens`` and ``output_tokens`` are quotas beside that of all ``tokens``.
    """

    requests: Quota | None = None
    tokens: Quota | None = None
    input_tokens: Quota | None = None
    output_tokens: Quota | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenEstimate(Value):
    """The tokens that a call is expected to take.

    ``max_output_tokens`` is the most that its answer can have, None where nothing limits it.
    """

    input_tokens: int
    output_tokens: int = 0
    max_output_tokens: int | None = None
