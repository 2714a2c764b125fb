"""``python -m pollux_durable.worker MODULE``: the command ``pollux-sync durable worker``."""

from __future__ import annotations

import sys

from pollux_durable.cli import main
from pollux_sync.commands import FAILED, REFUSED, write_remark
from pollux_sync.errors import ConfigurationError, PolluxError

if __name__ == "__main__":
    try:
        code = main(["worker", *sys.argv[1:]])
    except PolluxError as error:
        write_remark(f"error: {error.message}")
        if error.hint:
            write_remark(f"  hint: {error.hint}")
        code = REFUSED if isinstance(error, ConfigurationError) else FAILED
    sys.exit(code)
