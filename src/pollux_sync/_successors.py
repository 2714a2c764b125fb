"""The successors of names of pollux-ai that pollux-sync does not have.

Read only after a name was not found. docs/coming-from-pollux-ai.md shows the same table, and a test compares the two.
"""

from __future__ import annotations

#: For each name what to use instead, in words and names of pollux-sync.
SUCCESSORS = {
    "CachePolicy": "`create_cache`, with its handle as `Environment(cache=...)`",
    "CacheSetting": "`create_cache`, with its handle as `Environment(cache=...)`",
    "Event": "one class for each type of event, such as `TextDelta`",
    "MessageRole": 'a plain string, such as "user", in `Message`',
    "OutputCollection": "the dict that `run_many` returns; `outputs` makes an `Output` of each answer",
    "ProviderReadiness": "`Readiness`",
    "ToolChoice": "a plain value in `Options.tool_choice` or `Environment(tool_choice=...)`",
    "local_reasoning": "a raw field of your server: `Options(provider_options=...)`",
    "prepare_environment": "`create_cache`, with its handle as `Environment(cache=...)`",
    "cache": "`create_cache` and `CacheHandle`",
    "config": "`Config`",
    "deferred": "`DeferredHandle` and `DeferredSnapshot`",
    "interaction": "`interact`, `Environment`, `Input` and `Output`",
    "parts": "`Source`",
    "providers": "plugins, each a package of its own",
    "retry": "`RetryPolicy`",
    "source": "`Source`",
}
