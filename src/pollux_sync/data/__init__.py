"""Frozen values that every stage, hook and plugin shares. They make no network calls."""
