"""Serves a folder to browsers on this machine.

python applications/web/server.py FOLDER [PORT]
"""

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"


class Handler(SimpleHTTPRequestHandler):
    """Files with the types that modules and WASM need, and the headers of threads."""

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

    def log_message(self, *_):
        """Says nothing of each request."""


def serve(folder: Path, port: int) -> None:
    """Serves a folder until ctrl-C.

    Raises:
        OSError: If the port is taken.
    """
    handler = functools.partial(Handler, directory=str(folder))
    with ThreadingHTTPServer((HOST, port), handler) as server:
        print(f"Serving http://{HOST}:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8000)
