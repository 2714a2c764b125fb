"""Plugins that ship with the core. They use the same hooks as all others."""
