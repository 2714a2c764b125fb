"""``pollux-sync models``: what may be asked at a provider."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from pollux_sync.api.probing import list_models
from pollux_sync.cli.asking import PROVIDER_VARIABLE, provider_from
from pollux_sync.cli.exits import DONE
from pollux_sync.cli.terminal import write_json, write_table
from pollux_sync.hooks.config import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.data.models import ModelInfo

_HEAD = ("MODEL", "CONTEXT", "OUTPUT", "CREATED", "NAME")
#: A list is of all models, whichever one is configured.
_ANY = "any"


def main(argv: Sequence[str]) -> int:
    """List the models that the account may ask, in the provider's order."""
    arguments = _parser().parse_args(argv)
    model = arguments.model or _ANY
    config = Config(
        provider=provider_from(arguments), model=model, base_url=arguments.base_url, use_mock=arguments.mock
    )
    models = list_models(config=config)
    if arguments.json:
        write_json([attrs.asdict(model) for model in models])
    else:
        write_table([_HEAD, *map(_row, models)])
    return DONE


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="pollux-sync models",
        description="List the models that your account may ask, with their limits in tokens where the provider says.",
        allow_abbrev=False,
    )
    parser.add_argument("-p", "--provider", help=f"an installed provider, by default {PROVIDER_VARIABLE}")
    parser.add_argument("-m", "--model", help="a GGUF file to load, for a local model in this process")
    parser.add_argument("--base-url", metavar="URL", help="where the provider is, if it may be elsewhere")
    parser.add_argument("--mock", action="store_true", help="list offline")
    parser.add_argument("--json", action="store_true", help="a list of objects")
    return parser


def _row(model: ModelInfo) -> tuple[str, ...]:
    created = "" if model.created_at is None else f"{datetime.fromtimestamp(model.created_at, UTC):%Y-%m-%d}"
    limits = ("" if limit is None else str(limit) for limit in (model.context_tokens, model.max_output_tokens))
    return (model.id, *limits, created, " ".join((model.display_name or "").split()))
