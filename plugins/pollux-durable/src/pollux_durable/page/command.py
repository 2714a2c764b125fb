"""``pollux-sync durable ui``, for the command line to register: its arguments, and what it does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.page.serving import LOOPBACK, serve

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from pollux_durable.hosting import Host

ABOUT = "show runs in the browser, answer, cancel and resume them"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help=f"where to listen; default: {LOOPBACK}, which only this machine reaches. Others see it unencrypted",
    )
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def run_ui(arguments: Namespace, host: Host) -> int:
    """Serve the page of a host until Ctrl-C; return the exit code. Raises ConfigurationError."""
    serve(host, address=arguments.host, port=arguments.port, open_browser=arguments.open)
    return 0
