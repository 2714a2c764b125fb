"""JSON values <-> the texts that are stored, through the codec of a plugin if there is one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from pollux_durable.errors import PayloadError, StoredDataError

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json

#: Begins each text that a codec has written.
CODEC_MARK = "pollux-codec:"


class Codec(Protocol):
    """Changes texts before they are stored, to encrypt them for one. ``decode(encode(text))`` is the text."""

    def encode(self, text: str) -> str:
        """Return what is stored."""
        ...

    def decode(self, text: str) -> str:
        """Return the text that was encoded."""
        ...


class JsonStore:
    """Writes and reads JSON values as texts."""

    def __init__(self, codec: Codec | None = None) -> None:
        self._codec = codec

    @property
    def has_codec(self) -> bool:
        """True if a plugin changes what is stored."""
        return self._codec is not None

    def dump(self, value: Json, subject: str = "the value") -> str:
        """Return the stored form of a value. Raises PayloadError if it has no JSON form."""
        try:
            text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"{subject} has no JSON form: {error}", hint="return dicts, lists, texts, numbers, or a typed value"
            ) from None
        return text if self._codec is None else CODEC_MARK + self._codec.encode(text)

    def load(self, text: str) -> Json:
        """Return the value of a stored form. Raises StoredDataError for one that this store cannot read."""
        if text.startswith(CODEC_MARK):
            if self._codec is None:
                raise StoredDataError(
                    "a stored value was written with a codec",
                    hint="configure(plugins=[...]) with the plugin that has it",
                )
            text = self._codec.decode(text[len(CODEC_MARK) :])
        try:
            return json.loads(text)
        except ValueError:
            raise StoredDataError("a stored value is no JSON") from None
