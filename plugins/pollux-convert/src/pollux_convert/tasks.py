"""The messages between this process and that of a reader: the task, and the converted document."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import NamedTuple, TypeAlias


class Task(NamedTuple):
    """One document to read, and its limits. ``image_type`` is the type of pictures that the provider takes, or ""."""

    kind: str
    image_type: str
    image_dpi: int
    max_pages: int
    max_output_chars: int
    max_memory_bytes: int


class ReadError(Exception):
    """A document that cannot be read; the reason continues a sentence that begins with its name."""

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


#: A part of a converted document: text, or the bytes of a picture.
Part: TypeAlias = str | bytes


def dump_task(task: Task, data: bytes) -> bytes:
    """Return the input of a reader's process."""
    return json.dumps(task).encode() + b"\n" + data


def load_task(content: bytes) -> tuple[Task, bytes]:
    """Return the task and the document from the input of a reader's process."""
    line, _, data = content.partition(b"\n")
    return Task(*json.loads(line)), data


def dump_parts(parts: list[Part]) -> bytes:
    """Return the output of a reader's process."""
    plain = [part if isinstance(part, str) else {"image": b64encode(part).decode()} for part in parts]
    return json.dumps({"parts": plain}).encode()


def dump_error(error: ReadError) -> bytes:
    """Return the output of a reader's process that failed."""
    return json.dumps({"reason": error.reason, "hint": error.hint}).encode()


def load_parts(output: bytes) -> list[Part]:
    """Return the parts from the output of a reader's process. Raises ReadError, or ValueError for no such output."""
    answer = json.loads(output)
    if "reason" in answer:
        raise ReadError(answer["reason"], hint=answer["hint"])
    return [part if isinstance(part, str) else b64decode(part["image"]) for part in answer["parts"]]
