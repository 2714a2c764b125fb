"""``pollux-sync models``: the models that a provider offers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from pollux_sync.api.probing import list_models
from pollux_sync.cli.asking import add_provider_arguments, add_route_arguments, read_fields, require_provider
from pollux_sync.cli.commands import build_parser
from pollux_sync.commands import DONE, declare_parser, write_json, write_table
from pollux_sync.hooks.config import Config

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from pollux_sync.data.models import ModelInfo

_HEADER = ("MODEL", "CONTEXT", "OUTPUT", "CREATED", "NAME")
#: A Config needs a model, but the list does not depend on it (except for a GGUF file in this process).
_ANY = "any"


def build_models_parser() -> ArgumentParser:
    """Return the parser of ``pollux-sync models``."""
    parser = build_parser("models", details="Limits are in tokens; not every provider reports them.")
    add_provider_arguments(parser)
    add_route_arguments(parser)
    parser.add_argument("-m", "--model", help="a GGUF file to load, for a local model in this process")
    parser.add_argument("--mock", dest="use_mock", action="store_true", help="list the model of the mock, offline")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    return parser


@declare_parser(build_models_parser)
def main(argv: Sequence[str]) -> int:
    """List the models that the account can use, in the provider's order."""
    arguments = build_models_parser().parse_args(argv)
    fields = {"model": _ANY} | read_fields(arguments, Config) | {"provider": require_provider(arguments)}
    models = list_models(config=Config(**fields))
    if arguments.json:
        write_json([attrs.asdict(model) for model in models])
    else:
        write_table([_HEADER, *map(_build_row, models)])
    return DONE


def _build_row(model: ModelInfo) -> tuple[str, ...]:
    created = "" if model.created_at is None else f"{datetime.fromtimestamp(model.created_at, UTC):%Y-%m-%d}"
    limits = ("" if limit is None else str(limit) for limit in (model.context_tokens, model.max_output_tokens))
    # A vendor's display name may contain line breaks, which would break the table.
    return (model.id, *limits, created, " ".join((model.display_name or "").split()))
