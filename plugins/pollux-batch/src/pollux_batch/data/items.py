"""The items that a caller hands in, before anything is read or sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync import Config, Options
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollux_sync import Source
    from pollux_sync.errors import PolluxError


def _to_tuple(sources: Iterable[Source]) -> tuple[Source, ...]:
    given: object = sources
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise ConfigurationError(
            f"sources must be a list of Source, got {type(given).__name__}",
            hint="build it with Source.from_text, Source.from_file, ... and pass a list of them",
        )
    return tuple(sources)


@attrs.frozen
class BatchItem:
    """One prompt of a bulk job, with what it does not share with the others.

    * ``prompt``: the question; None sends the sources alone.
    * ``id``: a label of your own, by which the result is found; default ``item_N`` by position.
    * ``sources``: read beside those of the job.
    * ``options``, ``config``: in place of those of the job.
    * ``context``: anything of yours; the result has the same object.
    * ``salt``: items that are equal but for it are asked apart, for several samples of one prompt.
    """

    prompt: str | None
    id: str | None = None
    sources: tuple[Source, ...] = attrs.field(default=(), converter=_to_tuple, kw_only=True)
    options: Options | None = attrs.field(default=None, kw_only=True)
    config: Config | None = attrs.field(default=None, kw_only=True)
    context: Any = attrs.field(default=None, kw_only=True)
    salt: str = attrs.field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        label: object = self.id
        if label is not None and not (isinstance(label, str) and label.strip()):
            raise ConfigurationError(f"the id of an item must be a non-blank text, got {label!r}", hint="leave it out")
        _check_text("id", self.id)
        _check_text("salt", self.salt)
        _check_type("options", self.options, Options)
        _check_type("config", self.config, Config)


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigurationError(f"the {name} of an item must be a text, got {value!r}", hint="leave it out")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigurationError(
            f"the {name} of an item contains a lone surrogate: {value!r}", hint="read its file with the right encoding"
        )


def _check_type(name: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise ConfigurationError(
            f"the {name} of an item must be {wanted.__name__}, got {type(value).__name__}",
            hint=f"pass {wanted.__name__}(...), or leave it out to use that of the job",
        )


@attrs.frozen
class BrokenItem:
    """An item that its reader could not build. It fails with ``error``, and the others go on."""

    error: PolluxError
    id: str | None = None
    context: Any = attrs.field(default=None, kw_only=True)


def read_item(given: object) -> BatchItem:
    """Return an item as a caller may write it: a text, (id, prompt), (id, prompt, context), or a `BatchItem`.

    Raises the error of a `BrokenItem`, and ConfigurationError for anything else.
    """
    if isinstance(given, BrokenItem):
        raise given.error
    if isinstance(given, BatchItem):
        return given
    if isinstance(given, str):
        return BatchItem(given)
    if isinstance(given, tuple | list) and len(given) in {2, 3}:
        label, prompt, *context = given
        return BatchItem(prompt, label, context=context[0] if context else None)
    raise ConfigurationError(
        f"an item must be a text, (id, prompt), (id, prompt, context) or a BatchItem, got {type(given).__name__}",
        hint="read other rows with read_jsonl() or read_csv(), or build BatchItem(...)",
    )


@attrs.frozen(kw_only=True)
class Asked:
    """The input of a job: its items, and what they share.

    ``numbers`` are the places of the items among equal ones, where they are known from an earlier part of the job.
    """

    items: Iterable[object]
    config: Config
    options: Options | None = None
    sources: tuple[Source, ...] = ()
    numbers: tuple[int, ...] | None = None

    def __attrs_post_init__(self) -> None:
        config: object = self.config
        if not isinstance(config, Config):
            raise ConfigurationError(
                f"config must be a Config, got {type(config).__name__}", hint="config=Config(provider=..., model=...)"
            )
        options: object = self.options
        if options is not None and not isinstance(options, Options):
            raise ConfigurationError(
                f"options must be Options, got {type(options).__name__}", hint="options=Options(...), or leave it out"
            )
        items: object = self.items
        if isinstance(items, str | bytes) or not hasattr(items, "__iter__"):
            raise ConfigurationError(
                f"items must be an iterable of prompts, got {type(items).__name__}", hint="pass a list: [prompt]"
            )
        # Asked for its iterator now: an input that has none must fail before a journal is opened.
        object.__setattr__(self, "items", iter(self.items))
