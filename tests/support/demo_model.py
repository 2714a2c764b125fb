"""The model file of `make demo`, found by the demo's own function."""

import runpy
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def find_demo_model() -> Path:
    return runpy.run_path(str(DEMO))["find_packaged_model"]()
