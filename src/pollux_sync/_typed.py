"""The type of a structured answer, from the schema in `Options` to the result: type checkers follow it.

Nothing of it is done when a program runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Generic

    from typing_extensions import TypeVar

    #: The class that was passed as ``response_schema``; Any without one.
    T = TypeVar("T", default=Any)

    class Typed(Generic[T]):
        """A class whose instances know the type of the answer."""

else:
    from typing import TypeVar

    T = TypeVar("T")

    class Typed:
        """A class whose instances know the type of the answer."""

        __slots__ = ()

        def __class_getitem__(cls, _type: object) -> type:
            return cls
