"""The model of `make demo`, found as the demo finds it."""

import runpy
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def find_demo_model() -> Path:
    return runpy.run_path(str(DEMO))["packaged_model"]()
