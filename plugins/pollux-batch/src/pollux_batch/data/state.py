"""The memory of a strategy about an item, from one try to the next."""

from __future__ import annotations

from typing import Any


class RetryState:
    """A strategy's own notes on one item. The same object goes to all tries of the item, and to no other item.

    A state is true even when it is empty: ``if state:`` asks whether there is one.
    """

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, ``default`` if it has none."""
        return self.data.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Set the value of a key."""
        self.data[key] = value

    def delete(self, key: str, *, raise_if_missing: bool = False) -> None:
        """Delete a key. Raises KeyError for one that is missing, if asked to."""
        if raise_if_missing and key not in self.data:
            raise KeyError(key)
        self.data.pop(key, None)

    def clear(self) -> None:
        """Delete all keys."""
        self.data.clear()

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __repr__(self) -> str:
        return f"RetryState({self.data!r})"
