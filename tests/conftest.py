"""What holds for all tests."""

import signal

# What a shell starts in the background ignores Ctrl-C, and hands that on to the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
