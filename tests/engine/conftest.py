"""Fixtures of this folder."""

from acme_fixtures import acme, config, server

__all__ = ["acme", "config", "server"]
