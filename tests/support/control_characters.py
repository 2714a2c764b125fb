"""A text that a terminal would obey, and how it is shown."""

#: Sets a terminal's title, moves its cursor, turns the direction of writing, and deletes.
EVIL = "a\x1b]0;x\x07\x9b2J\u202eb\x7f\r"
SHOWN = r"a\x1b]0;x\x07\x9b2J\u202eb\x7f\r"
