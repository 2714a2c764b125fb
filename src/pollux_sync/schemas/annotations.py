"""Reading type annotations: names resolved, qualifiers peeled off, type variables filled in."""

from __future__ import annotations

import inspect
import sys
import typing
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar, get_args, get_origin

from pollux_sync.errors import ConfigurationError

_QUALIFIERS = {"Final", "Required", "NotRequired", "ReadOnly"}
_NO_BASES = (object, dict, tuple, Generic, Protocol)


def peel(tp: Any) -> tuple[Any, str | None]:
    """The type without Annotated, NewType and qualifiers, and the description found on the way."""
    description = None
    while True:
        origin = get_origin(tp)
        if origin is Annotated:
            description = description or _description_in(tp.__metadata__)
            tp = tp.__origin__
        elif qualifier(tp):
            tp = get_args(tp)[0]
        elif isinstance(tp, NewType):
            tp = tp.__supertype__
        elif isinstance(tp, TypeVar):
            tp = _stand_in(tp)
        else:
            return tp, description


def qualifier(tp: Any) -> str | None:
    """``"NotRequired"`` for ``NotRequired[int]``, and so on; None for other types."""
    name = getattr(get_origin(tp), "_name", None)
    return name if name in _QUALIFIERS else None


def _description_in(metadata: tuple[Any, ...]) -> str | None:
    texts = (item if isinstance(item, str) else getattr(item, "documentation", None) for item in metadata)
    return next((text for text in texts if isinstance(text, str)), None)


def _stand_in(variable: TypeVar) -> Any:
    """What an unfilled type variable means: its bound, or any of its constraints, or anything."""
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007  (built from a tuple)
    return variable.__bound__ or Any


def type_variables(tp: Any) -> dict[Any, Any]:
    """Which type stands for which type variable in ``Box[int]``."""
    origin, args = get_origin(tp), get_args(tp)
    names: tuple[Any, ...] = getattr(origin, "__type_params__", ()) or getattr(origin, "__parameters__", ())
    return dict(zip(names, args, strict=False))


def fill_in(tp: Any, variables: dict[Any, Any]) -> Any:
    """The type with its type variables replaced."""
    if isinstance(tp, TypeVar):
        return variables.get(tp, tp)
    free = () if isinstance(tp, type) else getattr(tp, "__parameters__", ())
    return tp[tuple(variables.get(name, name) for name in free)] if free else tp


def hints_of(tp: Any) -> dict[str, Any]:
    """The annotations of a class and its bases by name, with the type variables of each base filled in.

    Raises ConfigurationError when an annotation names something that cannot be found.
    """
    cls, variables = get_origin(tp) or tp, type_variables(tp)
    hints = _resolved_hints(cls)
    own_names = _own_names(cls)
    inherited: dict[str, Any] = {}
    for base in reversed(_bases(cls)):
        inherited |= hints_of(fill_in(base, variables))
    return {
        name: inherited[name] if name in inherited and name not in own_names else fill_in(hint, variables)
        for name, hint in hints.items()
    }


def alias_target(alias: Any) -> Any:
    """Return the type that ``type X = ...`` stands for, with names written as text resolved."""

    class Holder:
        __annotations__ = {"target": alias.__value__}

    try:
        names = vars(sys.modules[alias.__module__])
        return typing.get_type_hints(Holder, names, {alias.__name__: alias}, include_extras=True)["target"]
    except NameError as error:
        raise ConfigurationError(
            f"{alias.__name__}: a name cannot be resolved: {error}", hint="define it at module level"
        ) from error


def _bases(cls: type) -> list[Any]:
    bases = cls.__dict__.get("__orig_bases__", cls.__bases__)
    return [
        base
        for base in bases
        if isinstance(get_origin(base) or base, type) and (get_origin(base) or base) not in _NO_BASES
    ]


def _own_names(cls: type) -> set[str]:
    if hasattr(cls, "__total__"):  # a TypedDict lists what it inherits among its own
        return set()
    return set(_own_annotations(cls))


def _own_annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _resolved_hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:
        pass
    try:  # a class made inside a function may name itself
        names = {base.__name__: base for base in cls.__mro__}
        return typing.get_type_hints(cls, localns=names, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{cls.__name__}: an annotation cannot be resolved: {error}",
            hint="define the named type at module level, and import it outside `if TYPE_CHECKING`",
        ) from error
