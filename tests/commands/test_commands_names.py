import re
from pathlib import Path

import pollux_sync.commands

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()


def test_every_name_is_in_the_table_of_the_page():
    _, _, section = PAGE.partition("\n## A command of your own\n")
    rows = re.findall(r"^\| (`.+?`) \| ", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {*pollux_sync.commands.__all__}


def test_every_name_can_be_used():
    assert all(getattr(pollux_sync.commands, name) is not None for name in pollux_sync.commands.__all__)
