"""The state of a workflow: typed fields that outlive a run."""

from __future__ import annotations

import copy
import json
from typing import Any, ClassVar, get_type_hints

from pollux_durable.data.values import convert_to_json, convert_to_type
from pollux_durable.errors import PayloadError

#: Every run of a scope reads the whole state, and writes it at its end.
_MAX_BYTES = 1_000_000


class WorkflowState:
    """The base of states: ``class CounterState(WorkflowState): count: int = 0``.

    Every field needs a type and a default, unless each run is given its initial state. What is assigned must fit its
    type. Raises PayloadError for a value that does not fit, or a field that is not declared.
    """

    _hints: ClassVar[dict[str, Any] | None] = None

    def __init__(self, **values: Any) -> None:
        for name in self._read_hints():
            if name in values:
                setattr(self, name, values.pop(name))
            elif hasattr(type(self), name):
                setattr(self, name, copy.deepcopy(getattr(type(self), name)))
            else:
                raise PayloadError(
                    f"the state {type(self).__name__} needs a value for {name!r}",
                    hint=f"give the field a default, or pass initial_state={{{name!r}: ...}}",
                )
        for name in values:
            raise PayloadError(f"the state {type(self).__name__} has no field {name!r}", hint="declare it in the class")

    @classmethod
    def _read_hints(cls) -> dict[str, Any]:
        if cls.__dict__.get("_hints") is None:
            hints = get_type_hints(cls, include_extras=True)
            cls._hints = {name: hint for name, hint in hints.items() if not name.startswith("_")}
        return cls._hints or {}

    def __setattr__(self, name: str, value: Any) -> None:
        hints = self._read_hints()
        if name not in hints:
            raise PayloadError(f"the state {type(self).__name__} has no field {name!r}", hint="declare it in the class")
        subject = f"{type(self).__name__}.{name}"
        super().__setattr__(name, convert_to_type(convert_to_json(value, subject), hints[name], subject))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form. The class, called with it, gives an equal state.

        Raises PayloadError for one of more than a megabyte.
        """
        name = type(self).__name__
        values = {field: convert_to_json(value, f"{name}.{field}") for field, value in vars(self).items()}
        size_bytes = len(json.dumps(values))
        if size_bytes > _MAX_BYTES:
            raise PayloadError(
                f"the state {name} takes {size_bytes:,} bytes, and may take {_MAX_BYTES:,}",
                hint="keep large data in a file, and its path in the state",
            )
        return values
