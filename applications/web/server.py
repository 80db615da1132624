"""Serves a folder to browsers on this machine.

python applications/web/server.py FOLDER [PORT]
"""

import contextlib
import functools
import socket
import sys
import time
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"

# Browsers have six connections to a server; each holds a thread of this one.
MOST_CONNECTIONS = 32
MOST_SECONDS = 30.0


class Handler(SimpleHTTPRequestHandler):
    """Files with the types that modules and WASM need, and the headers of threads.

    Only files in the folder are served, and only under this machine's own name: a
    stranger's page whose name points here (DNS rebinding) gets nothing.
    """

    extensions_map = {  # noqa: RUF012  the base class's own form
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".wasm": "application/wasm",
        ".tflite": "application/octet-stream",
    }

    def end_headers(self):
        # Without these two browsers give a page no memory that threads share.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def parse_request(self):
        if not super().parse_request():
            return False
        own = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        hosts = self.headers.get_all("Host", [])
        if len(hosts) == 1 and hosts[0].lower() in own:
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def send_head(self):
        try:
            path = Path(self.translate_path(self.path))
            # A folder is answered with one of these.
            served = [path, path / "index.html", path / "index.htm"]
            folder = Path(self.directory).resolve()
            inside = all(file.resolve().is_relative_to(folder) for file in served)
        except (
            ValueError,
            OSError,
            RuntimeError,
        ):  # NUL, half characters, links' loops
            inside = False
        if not inside:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def log_message(self, *_):
        """Says nothing of each request."""


class Server(ThreadingHTTPServer):
    """A server whom slow clients cannot hold up.

    A connection ends after `MOST_SECONDS`, and the oldest one when there are more than
    `MOST_CONNECTIONS`.
    """

    request_queue_size = 128  # five that wait would make others try again, and late

    def __init__(self, *arguments):
        self._since: dict[socket.socket, float] = {}
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        self._since[request] = time.monotonic()
        for oldest in list(self._since)[:-MOST_CONNECTIONS]:
            self._end(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self):
        """Is called twice a second."""
        for request, since in list(self._since.items()):
            if time.monotonic() - since > MOST_SECONDS:
                self._end(request)

    def handle_error(self, request, client_address):
        # A client that is gone, or was let go, is no fault.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _end(self, request):
        self._since.pop(request, None)
        with contextlib.suppress(OSError):  # its thread has closed it
            request.shutdown(socket.SHUT_RDWR)


def check_port(port: int) -> None:
    """Raises a ValueError if there is no such port."""
    if not 0 <= port <= 65535:
        raise ValueError(f"The port must be a number from 0 to 65535. Received: {port}")


def make_server(folder: Path, port: int) -> Server:
    """Returns a server of a folder; port 0 is any that is free.

    Raises:
        ValueError: If there is no such port.
        OSError: If there is no such folder, or the port is taken.
    """
    check_port(port)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    try:
        return Server((HOST, port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise OSError(
            f"The port must be free. Received: {port} ({error.strerror}). Choose "
            "another one; 0 is any free port."
        ) from error


def serve(folder: Path, port: int) -> None:
    """Serves a folder until ctrl-C.

    Raises:
        ValueError, OSError: As `make_server`.
    """
    with make_server(folder, port) as server:
        print(f"Serving http://{HOST}:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped")


def main(words: list[str]) -> None:
    """Serves the folder and the port that the words of a command name."""
    port = words[1] if len(words) > 1 else "8000"
    if len(words) not in (1, 2) or not port.isdecimal():
        raise ValueError(
            "Use: python applications/web/server.py FOLDER [PORT]. Received: "
            f"{' '.join(words) or 'no folder'}"
        )
    serve(Path(words[0]), int(port))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
