"""Type annotations: resolving names, removing qualifiers, substituting type variables."""

from __future__ import annotations

import inspect
import sys
import typing
from decimal import Decimal
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar, get_args, get_origin

from pollux_sync.errors import ConfigurationError

_QUALIFIERS = {"Final", "Required", "NotRequired", "ReadOnly"}
_NO_BASES = (object, dict, tuple, Generic, Protocol)


def unwrap_type(tp: Any) -> tuple[Any, str | None]:
    """Return the type without Annotated, NewType and qualifiers, and the outermost description among them."""
    description = None
    # They nest in any order, such as Required[Annotated[UserId, "who pays"]].
    while True:
        origin = get_origin(tp)
        if origin is Annotated:
            description = description or _find_description(tp.__metadata__)
            tp = tp.__origin__
        elif find_qualifier(tp):
            tp = get_args(tp)[0]
        elif isinstance(tp, NewType):
            tp = tp.__supertype__
        elif isinstance(tp, TypeVar):
            tp = _choose_substitute(tp)
        else:
            return tp, description


def find_qualifier(tp: Any) -> str | None:
    """Return ``"NotRequired"`` for ``NotRequired[int]``, and so on; None for other types."""
    # By name, since typing and typing_extensions may have different objects for one qualifier.
    name = getattr(get_origin(tp), "_name", None)
    return name if name in _QUALIFIERS else None


def _find_description(metadata: tuple[Any, ...]) -> str | None:
    # Metadata of other libraries is skipped: a description is a text, or typing_extensions.Doc.
    texts = (item if isinstance(item, str) else getattr(item, "documentation", None) for item in metadata)
    return next((text for text in texts if isinstance(text, str)), None)


def _choose_substitute(variable: TypeVar) -> Any:
    """Return the type of a free type variable: its bound, the union of its constraints, or Any."""
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007  (built from a tuple)
    return variable.__bound__ or Any


def map_type_variables(tp: Any) -> dict[Any, Any]:
    """Return the types by type variable, such as ``{T: int}`` for ``Box[int]``."""
    origin, args = get_origin(tp), get_args(tp)
    # `class Box[T]` and `type X[T]` have __type_params__, Generic[T] has __parameters__.
    names: tuple[Any, ...] = getattr(origin, "__type_params__", ()) or getattr(origin, "__parameters__", ())
    return dict(zip(names, args, strict=False))


def substitute_variables(tp: Any, variables: dict[Any, Any]) -> Any:
    """Return the type with these type variables replaced."""
    if isinstance(tp, TypeVar):
        return variables.get(tp, tp)
    # A generic class has __parameters__ too, but is not subscripted here: only list[T] and the like are.
    free = () if isinstance(tp, type) else getattr(tp, "__parameters__", ())
    return tp[tuple(variables.get(name, name) for name in free)] if free else tp


def resolve_hints(tp: Any) -> dict[str, Any]:
    """Return the annotations of a class and its bases by name, with the type variables of each base substituted.

    Raises ConfigurationError for a name that cannot be resolved.
    """
    # typing.get_type_hints leaves the type variables of generic bases free: in `class A(Box[int])`, it returns T for
    # the item. The hints of each base are resolved with the arguments of that base instead.
    cls, variables = get_origin(tp) or tp, map_type_variables(tp)
    hints = _evaluate_hints(cls)
    own_names = _list_own_names(cls)
    inherited: dict[str, Any] = {}
    for base in reversed(_list_bases(cls)):
        inherited |= resolve_hints(substitute_variables(base, variables))
    return {
        name: inherited[name] if name in inherited and name not in own_names else substitute_variables(hint, variables)
        for name, hint in hints.items()
    }


def resolve_alias(alias: Any) -> Any:
    """Return the type that ``type X = ...`` defines, with names in text resolved."""

    # get_type_hints resolves the annotations of a class only, hence a class with one annotation.
    class Holder:
        __annotations__ = {"target": alias.__value__}

    try:
        names = vars(sys.modules[alias.__module__])
        return typing.get_type_hints(Holder, names, {alias.__name__: alias}, include_extras=True)["target"]
    except NameError as error:
        raise ConfigurationError(
            f"type alias {alias.__name__}: cannot resolve a name: {error}", hint="define the name at module level"
        ) from error


def _list_bases(cls: type) -> list[Any]:
    # __orig_bases__ keeps Box[int], of which __bases__ has only Box.
    bases = cls.__dict__.get("__orig_bases__", cls.__bases__)
    return [
        base
        for base in bases
        if isinstance(get_origin(base) or base, type) and (get_origin(base) or base) not in _NO_BASES
    ]


def _list_own_names(cls: type) -> set[str]:
    # A TypedDict lists inherited fields among its own; without own names all come from the bases, substituted.
    if hasattr(cls, "__total__"):
        return set()
    return set(_read_own_annotations(cls))


def _read_own_annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        # Annotations are evaluated on demand since 3.14 (PEP 649); FORWARDREF does not raise for unknown names.
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _evaluate_hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:
        pass
    # The globals of a module do not have a class that is defined inside a function and names itself. Our own values
    # name Decimal for type checkers alone, since its import is slow.
    try:
        names: dict[str, Any] = {"Decimal": Decimal} | {base.__name__: base for base in cls.__mro__}
        return typing.get_type_hints(cls, localns=names, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{cls.__name__}: cannot resolve an annotation: {error}",
            hint="define the named type at module level, and import it outside `if TYPE_CHECKING`",
        ) from error
