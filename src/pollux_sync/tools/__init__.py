"""Python functions as tools of a model: declared from their types and docstrings, run in a bounded loop."""

from pollux_sync.data.tool import Tool
from pollux_sync.tools.looping import run_tools

__all__ = ["Tool", "run_tools"]
