"""Arguments that the command line leaves out, from a template or a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Namespace


def fill_arguments(arguments: Namespace, *, provider: str | None, model: str | None, **fields: Any) -> None:
    """Set provider, model and ``fields``, each where the command line has none.

    ``model`` is one of ``provider``: where the command line names another provider, it is left out.
    """
    if None in {provider, arguments.provider} or provider == arguments.provider:
        fields |= {"provider": provider, "model": model}
    for name, value in fields.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
