"""The web page's server, asked by clients that mean no good."""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults("a client of the web server that means no good")

PROGRAM = Path(__file__).parents[2] / "applications" / "web" / "server.py"


@pytest.fixture
def folder(tmp_path):
    """A page beside a secret."""
    page = tmp_path / "page"
    (page / "inside").mkdir(parents=True)
    (page / "index.html").write_text("the page")
    (page / "inside" / "file.txt").write_text("a file")
    (tmp_path / "secret.txt").write_text("secret")
    return page


@pytest.fixture
def server(folder):
    """A running server's process; it must have nothing to complain of at its end."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, folder, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.port = int(re.search(r":(\d+)/", process.stdout.readline()).group(1))
    yield process
    process.terminate()
    assert process.communicate(timeout=60)[1] == ""


def ask(server, path="/", **headers):
    """Returns the status and the body; a header that is None is not sent."""
    headers = {"Host": f"127.0.0.1:{server.port}", **headers}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("GET", "/", skip_host=True)
    connection._buffer[0] = f"GET {path} HTTP/1.1".encode("latin-1")  # as it is
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Received: no folder"),
        (["FOLDER", "abc"], "FOLDER [PORT]. Received: "),
        (["FOLDER", "0", "0"], "FOLDER [PORT]. Received: "),
        (["FOLDER", "70000"], "from 0 to 65535. Received: 70000"),
        (["nothing"], "There is no folder 'nothing'."),
        (["FOLDER", "TAKEN"], "must be free. Received: "),
    ],
)
def test_what_cannot_be_served_is_one_line(server, folder, words, message):
    places = {"FOLDER": str(folder), "TAKEN": str(server.port)}
    words = [places.get(word, word) for word in words]
    done = subprocess.run(
        [sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_and_folders_are_served(server):
    assert ask(server) == (200, "the page")
    assert ask(server, "/inside/file.txt?query#part") == (200, "a file")
    assert ask(server, "/inside%2Ffile.txt") == (200, "a file")
    assert ask(server, "/nothing")[0] == 404
    assert ask(server, Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/%00", "/index.html%00", "/inside%00/file.txt"),  # NUL
        *("/%ED%A0%80", "/%FF%FE", "/" + "x" * 5000, "/x" * 3000),
        *("//", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2Fsecret.txt"),
        *("http://127.0.0.1/%00", "/inside/../../secret.txt", "*"),
    ],
    ids=lambda path: path[:20],
)
def test_no_path_is_a_traceback_or_leads_out(server, path):
    status, body = ask(server, path)
    assert status in (200, 301, 400, 404, 414)
    assert "secret" not in body
    assert ask(server)[0] == 200  # and the server's `stderr` is empty


@pytest.mark.parametrize("target", ["secret.txt", "."])
def test_links_out_of_the_folder_are_not_followed(server, folder, target):
    outside = folder.parent / target
    (folder / "link").symlink_to(outside)
    (folder / "hidden").mkdir()
    if outside.is_file():  # a folder shows its index.html
        (folder / "hidden" / "index.html").symlink_to(outside)
    (folder / "twice").symlink_to(folder / "link")
    for path in ("/link", "/twice", "/link/secret.txt", "/twice/", "/hidden/"):
        status, body = ask(server, path)
        assert "secret" not in body.replace("/link/secret.txt", "")
        assert status == 404 or path == "/hidden/"
    (folder / "within").symlink_to(folder / "inside")
    assert ask(server, "/within/file.txt") == (200, "a file")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}"),
        *("127.0.0.1:1", "localhost", "localhost@evil.example:{port}", ""),
    ],
)
def test_other_hosts_are_refused(server, host):
    """A name of a stranger's that points here (DNS rebinding) is not this server's."""
    status, body = ask(server, Host=host.format(port=server.port))
    assert status == 421
    assert "the page" not in body


def test_every_host_that_is_named_must_be_right(server):
    with socket.create_connection(("127.0.0.1", server.port), 60) as client:
        own = f"Host: 127.0.0.1:{server.port}\r\n"
        text = f"GET / HTTP/1.1\r\n{own}Host: evil.example\r\n\r\n"
        client.sendall(text.encode())
        assert b" 421 " in client.recv(4096)
    assert ask(server, Host=None)[0] == 421


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
def test_slow_clients_hold_few_threads_and_nobody_up(server, text):
    clients = []
    try:
        for _ in range(300):
            clients.append(socket.create_connection(("127.0.0.1", server.port), 60))
            clients[-1].sendall(text)
        assert ask(server) == (200, "the page")
        deadline = time.monotonic() + 30
        while threads(server) > 40 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert threads(server) <= 40
        assert ask(server) == (200, "the page")
    finally:
        for client in clients:
            client.close()


def threads(server):
    return len(os.listdir(f"/proc/{server.pid}/task"))


def test_a_client_that_takes_too_long_is_let_go(folder, monkeypatch):
    monkeypatch.syspath_prepend(PROGRAM.parent)
    import server as module

    monkeypatch.setattr(module, "MOST_SECONDS", 0.3)
    monkeypatch.delitem(sys.modules, "server")

    with module.make_server(folder, 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            address = ("127.0.0.1", running.server_port)
            with socket.create_connection(address, 60) as client:
                # A byte now and then never makes a single read time out.
                start = time.monotonic()
                with pytest.raises(OSError):
                    while time.monotonic() - start < 20:
                        client.sendall(b"x")
                        time.sleep(0.1)
        finally:
            running.shutdown()
            thread.join()
