"""An item of a strategy: what is asked, and by which strategy."""

from __future__ import annotations

from typing import Any

import attrs

from pollux_batch.data.strategy import LLMCallStrategy
from pollux_batch.errors import WrongTypeError
from pollux_sync.errors import ConfigurationError


@attrs.frozen(eq=False)
class LLMWorkItem:
    """One prompt, and the strategy that answers it.

    * ``item_id``: a label of your own, by which the result is found; several items may have the same.
    * ``prompt``: may be empty, where the strategy knows what to ask.
    * ``context``: anything of yours; the result has the same object.
    """

    item_id: str
    strategy: LLMCallStrategy[Any]
    prompt: str = ""
    context: Any = None

    def __attrs_post_init__(self) -> None:
        given: tuple[object, object, object] = (self.item_id, self.strategy, self.prompt)
        item_id, strategy, prompt = given
        if not isinstance(item_id, str) or not item_id.strip():
            raise ConfigurationError(f"item_id must be a non-blank text, got {item_id!r}", hint="e.g. item_id='row_1'")
        if not isinstance(strategy, LLMCallStrategy):
            raise ConfigurationError(
                f"the strategy of item {item_id!r} must be an LLMCallStrategy, got {type(strategy).__name__}",
                hint="derive a class from LLMCallStrategy, or wrap a function: CallableStrategy(function)",
            )
        if not isinstance(prompt, str):
            raise WrongTypeError(
                f"the prompt of item {item_id!r} must be a text, got {type(prompt).__name__}",
                hint="for files and media use run_batch() with BatchItem(prompt, sources=[...])",
            )
