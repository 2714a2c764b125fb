"""The HTTP server of the page, from the standard library. It listens on this machine alone by default."""

from __future__ import annotations

import logging
import sys
import threading
import webbrowser
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

from pollux_durable.page.formatting import parse_count
from pollux_durable.page.forms import FORM_TOKEN
from pollux_durable.page.guarding import Guard, build_headers, create_nonce, is_loopback
from pollux_durable.page.routing import EVENTS_PATH, PageRequest, PageResponse, Site
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from pollux_durable.hosting import Host
    from pollux_durable.page.feeding import RunFeed
    from pollux_durable.page.guarding import Admission

LOOPBACK = "127.0.0.1"
_MAX_BODY_BYTES = 1_000_000
_MAX_FIELDS = 1000
#: The server looks this often whether it is to end.
_CLOSE_WITHIN_S = 0.2
_FORM_TOKEN_HEADER = "X-Pollux-Form-Token"  # noqa: S105 - the name of a header
_HTML, _EVENT_STREAM = "text/html; charset=utf-8", "text/event-stream; charset=utf-8"
log = logging.getLogger("pollux_durable")


def serve(host: Host, *, address: str = LOOPBACK, port: int = 0, open_browser: bool = False) -> None:
    """Print the URL of the page, and serve it until Ctrl-C. ``port`` 0 takes a free one.

    Whoever has the URL first sees all runs and may answer and cancel them. Raises ConfigurationError if it cannot
    listen there.
    """
    with PageServer(host, address=address, port=port) as server, suppress(KeyboardInterrupt):
        for line in build_remarks(address, server.url):
            _write(line)
        if open_browser:
            webbrowser.open(server.url)
        server.wait()


def build_remarks(address: str, url: str) -> list[str]:
    """Return the lines that are printed at the start."""
    caution = f"Caution: other machines reach {address}, and what is sent to them is not encrypted."
    return [
        *([] if is_loopback(address) else [caution]),
        f"The page is at {url}",
        "The URL is for one browser. Ctrl-C ends the page; runs are not ended.",
    ]


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class PageServer:
    """Serves the page of a host from `start` to `close`. Raises ConfigurationError if it cannot listen there."""

    def __init__(self, host: Host, *, address: str = LOOPBACK, port: int = 0) -> None:
        try:
            self._server = _Server(address, port, host)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"the page cannot listen on {address}, port {port}: {error}",
                hint="use another port, or 0 for a free one",
            ) from None
        self._thread = threading.Thread(target=self._serve, name="pollux-durable page", daemon=True)

    @property
    def address(self) -> str:
        """The address of the page, without the token."""
        name, port = self._server.server_address[:2]
        shown = f"[{name!s}]" if ":" in str(name) else str(name)
        return f"http://{shown}:{port}"

    @property
    def url(self) -> str:
        """The address of the page, with the token that opens it once."""
        return f"{self.address}/?token={self._server.guard.url_token}"

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=_CLOSE_WITHIN_S)

    def wait(self) -> None:
        """Wait until the server is closed."""
        # With a timeout: without one some systems do not interrupt the wait.
        while not self._server.closing.wait(1.0):
            pass

    def close(self) -> None:
        """End the server and all live events."""
        self._server.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, host: Host) -> None:
        self.address_family = AF_INET6 if ":" in address else AF_INET
        self.closing = threading.Event()
        super().__init__((address, port), _Handler)
        self.guard = Guard(address, self.server_address[1])
        self.site = Site(host, self.guard.form_token)

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of this machine, as HTTPServer does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Log the failure of a connection, unless the browser has gone."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            log.error("a connection to the page failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    #: A browser that sends or takes nothing for so long is cut off.
    timeout = 30

    def do_GET(self) -> None:
        path, _, text = self.path.partition("?")
        query = dict(parse_qsl(text, keep_blank_values=True))
        admission = self.server.guard.admit(self._read_headers(), query.get("token"))
        if not admission.is_granted:
            self._refuse()
        elif path == EVENTS_PATH:
            self._send_events(self.server.site.open_feed(query, self.headers.get("Last-Event-ID")))
        else:
            self._respond(PageRequest(method="GET", path=path, query=query, form={}), admission)

    def do_POST(self) -> None:
        # Read before it is refused: a connection with unread bytes is reset, and the browser would not see why.
        form = self._read_form()
        guard, headers = self.server.guard, self._read_headers()
        admission = guard.admit(headers, None)
        form_token = headers.get(_FORM_TOKEN_HEADER, form.get(FORM_TOKEN, ""))
        if not admission.is_granted or not guard.admits_change(headers, form_token):
            self._refuse()
            return
        path, _, _ = self.path.partition("?")
        self._respond(PageRequest(method="POST", path=path, query={}, form=form), admission)

    def _read_headers(self) -> dict[str, str]:
        # A header that is sent twice could be read in two ways: then neither counts.
        names = [name.title() for name in self.headers]
        return {name.title(): value for name, value in self.headers.items() if names.count(name.title()) == 1}

    def _read_form(self) -> dict[str, str]:
        size = parse_count(self.headers.get("Content-Length", "0"))
        if size is None or size > _MAX_BODY_BYTES:
            return {}
        try:
            body = self.rfile.read(size).decode()
            return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
        except ValueError:  # no UTF-8, or too many fields
            return {}

    # Sending

    def _refuse(self) -> None:
        self._send_head(403, {"Content-Length": "0"}, create_nonce())

    def _respond(self, request: PageRequest, admission: Admission) -> None:
        nonce = create_nonce()
        response = self.server.site.respond(request, nonce)
        self._send(response, nonce, admission.cookie)

    def _send(self, response: PageResponse, nonce: str, cookie: str | None) -> None:
        body = response.body.encode()
        headers = {"Content-Type": _HTML, "Content-Length": str(len(body))}
        if response.location is not None:
            headers["Location"] = response.location
        if cookie is not None:
            headers["Set-Cookie"] = cookie
        self._send_head(response.status, headers, nonce)
        self.wfile.write(body)

    def _send_events(self, feed: RunFeed | None) -> None:
        if feed is None:
            self._send_head(404, {"Content-Length": "0"}, create_nonce())
            return
        self._send_head(200, {"Content-Type": _EVENT_STREAM}, create_nonce())
        for message in feed.iter_messages(self.server.closing.is_set):
            self.wfile.write(message.encode())

    def _send_head(self, status: int, headers: dict[str, str], nonce: str) -> None:
        self.send_response(status)
        # Threads of idle connections would outlive what they are for.
        for name, value in {**build_headers(nonce), **headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    # What the library does by itself

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send the status of a request that nothing could be read of, and nothing else."""
        self.close_connection = True
        self._send_head(code, {"Content-Length": "0"}, create_nonce())

    def version_string(self) -> str:
        """Return what the server calls itself."""
        return "pollux-durable"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name that the library uses
        """Log nothing: URLs may hold the token."""
