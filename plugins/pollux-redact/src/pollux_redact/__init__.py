"""Middleware that replaces personal data before a call is sent, logged or kept, and puts it back into the answer."""

from pollux_redact.redacting import Redact

__all__ = ["Redact"]
