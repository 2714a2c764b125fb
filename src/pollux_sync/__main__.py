"""``python -m pollux_sync``: the command line."""

import sys

from pollux_sync.cli import main

if __name__ == "__main__":
    sys.exit(main())
