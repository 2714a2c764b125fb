"""Spans for OpenTelemetry, where it is installed and set up; nothing otherwise."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Tracer:
    """Opens spans."""

    def __init__(self) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            self._tracer = None
        else:
            self._tracer = trace.get_tracer("pollux_durable")

    @contextmanager
    def open_span(self, name: str, attributes: Mapping[str, Any]) -> Iterator[None]:
        """Put a span around the block."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name, attributes=dict(attributes)):
            yield
