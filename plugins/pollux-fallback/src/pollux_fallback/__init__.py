"""Middleware that asks another provider or model where the first one fails."""

from pollux_fallback.switching import Fallback

__all__ = ["Fallback"]
