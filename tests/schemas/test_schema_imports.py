"""The cost of importing the schemas, as lists of modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"jsonschema", "referencing", "cattrs", "pydantic", "msgspec", "asyncio", "requests"}


def _modules_after(code):
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = _modules_after("import pollux_sync.schemas")
    assert not loaded & HEAVY
    assert "pollux_sync.schemas.lowering" not in loaded


def test_importing_every_name_loads_nothing_heavy():
    assert not _modules_after("from pollux_sync.schemas import *") & HEAVY


def test_working_with_schemas_never_loads_another_library_for_models():
    code = (
        "from pollux_sync.builtin.examples import build_example\n"
        "from pollux_sync.schemas import *\n"
        "answer_format(dict[str, int], PLAIN).read('{}')\n"
        "unstructure(build_example(schema_of(list[int])))"
    )
    assert not _modules_after(code) & {"cattrs", "pydantic", "msgspec", "asyncio"}


def test_the_public_names_are_listed_and_there():
    import pollux_sync.schemas as package

    assert sorted(package.__all__) == sorted(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_an_unknown_name_is_an_attribute_error():
    import pollux_sync.schemas as package

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
