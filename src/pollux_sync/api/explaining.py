"""Show what a call would send, before it costs anything: `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.data.checks import check_bool
from pollux_sync.engine.explaining import explain_request
from pollux_sync.engine.requesting import build_request
from pollux_sync.process import clients

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pollux_sync.data.explanation import Explanation
    from pollux_sync.data.options import Options
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config


def explain(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options | None = None,
    per_source: bool = False,
    count_tokens: bool = False,
) -> Explanation:
    """Return what `run_many` would send for these arguments: requests, uploads, caching, schema. Send nothing.

    Raises what `run_many` raises before anything is sent. Files that would be uploaded appear in the requests as
    "upload-1", "upload-2", ... Middleware plans and rewrites calls as it would for `run_many`; its `pollux_call`
    and `pollux_send` are not called, and observers get no events.

    ``count_tokens`` does send requests: the provider counts the input tokens of each request, except of those with
    files that would have to be uploaded first. Raises ConfigurationError where the provider cannot count, APIError
    when counting fails.
    """
    # Only a bool is accepted: any other truthy value would send requests from a function that promises to send none.
    check_bool("count_tokens", count_tokens)
    request = build_request(prompts, sources, config, options, per_source=per_source)
    with clients.lease(request.config) as hooks:
        return explain_request(request, hooks, counts_tokens=count_tokens)
