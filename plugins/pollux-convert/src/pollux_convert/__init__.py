"""Documents that a provider cannot take become text or pictures on this machine: PDF, office files, mail, books, pages.

`Convert` is the plugin, with its limits; `KINDS` are the kinds of documents that it converts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pollux_convert.converting import Convert
    from pollux_convert.kinds import KINDS, Kind

__all__ = ["KINDS", "Convert", "Kind"]


# On first use: the process of a reader imports this package too, and needs neither the core nor attrs.
def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pollux_convert import converting

    return getattr(converting, name)


def __dir__() -> list[str]:
    return __all__
