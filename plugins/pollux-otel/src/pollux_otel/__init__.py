"""Middleware that traces calls with OpenTelemetry, by its semantic conventions for generative AI."""

from pollux_otel.tracing import Otel

__all__ = ["Otel"]
