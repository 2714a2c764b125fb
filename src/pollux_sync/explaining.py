"""What a call would send, looked at before it costs anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.api import connections
from pollux_sync.data.checks import require_bool
from pollux_sync.engine.explaining import explained
from pollux_sync.engine.requesting import build_request

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
    """What `run_many` would send for the same arguments: requests, uploads, caching, and the schema. Sends nothing.

    Raises what `run_many` raises before anything is sent. What is still to be uploaded appears in the requests as
    "upload-1", "upload-2", ... Middleware plans and rewrites calls as it would; its `pollux_call` and `pollux_send`
    are not asked, observers are told nothing.

    ``count_tokens`` does send: it has the provider count the input tokens of every request, but for those with files
    that are still to be uploaded. Raises ConfigurationError where the provider does not count, APIError where it fails.
    """
    require_bool("count_tokens", count_tokens)
    request = build_request(prompts, sources, config, options, per_source=per_source)
    with connections.lease(request.config) as hooks:
        return explained(request, hooks, counts_tokens=count_tokens)
