"""Fetching: what a bad network, a bad file or a full disk leaves behind is nothing."""

import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from keras_senet.weights import store
from keras_senet.weights.presets import File

pytestmark = pytest.mark.faults("a download that breaks off or is another file")

CONTENT = bytes(range(256)) * 4096 * 3
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT under paths that name the fault."""

    def do_GET(self):
        fault = self.path.rpartition("/")[2]
        self.server.requests.append((fault, self.headers.get("Range")))
        if fault == "missing":
            self.send_error(404)
            return
        start = 0
        requested = self.headers.get("Range")
        if requested and fault != "no_ranges":
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        body = CONTENT[start:]
        count = len(self.server.requests)
        if fault == "page":
            body = b"<!DOCTYPE html><title>Sign in</title>"
        self.send_response(206 if start else 200)
        if start and fault == "other_range":
            start, body = 0, CONTENT
            self.send_header("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}")
        if start and fault != "no_range_said":
            last = len(CONTENT) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        if fault == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            length = "abc" if fault == "no_number" else str(len(body))
            self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "chunks":  # The last one, of no bytes, is missing at first.
            body = body[: len(body) // 3 if count == 1 else None]
            body = b"%x\r\n%b\r\n" % (len(body), body) + b"0\r\n\r\n" * (count > 1)
        first_breaks = ("drops", "no_ranges", "other_range", "no_range_said")
        if fault == "always_broken" or (fault in first_breaks and count == 1):
            body = body[: len(body) // 3]
        if fault == "other":
            body = b"x" * len(body)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def record(server, fault="good", **hashes):
    hashes = hashes or {"sha256": SHA256[:8]}
    return File(url=server.url + fault, name="weights.bin", **hashes)


def left(folder):
    """What lies in the cache, locks aside."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


WHOLE = ["weights.bin", "weights.bin.sha256.json"]


@pytest.mark.parametrize(
    "hashes",
    [
        {"sha256": SHA256},
        {"sha256": SHA256[:8]},
        {"md5": hashlib.md5(CONTENT).hexdigest()},
    ],
)
def test_fetched_once(server, tmp_path, hashes, capsys):
    file = record(server, **hashes)
    path = store.fetch_file(file, tmp_path)
    assert path.read_bytes() == CONTENT
    assert store.fetch_file(file, tmp_path) == path
    assert len(server.requests) == 1
    assert left(tmp_path) == WHOLE
    recorded = json.loads((tmp_path / WHOLE[1]).read_text())
    assert recorded["sha256"] == SHA256 and not recorded["trusted_first"]
    assert "trusted" not in capsys.readouterr().err


def test_first_download_without_a_hash_is_trusted_and_recorded(
    server, tmp_path, capsys
):
    file = File(url=server.url + "good", name="weights.bin")
    path = store.fetch_file(file, tmp_path)
    assert (
        f"first download is trusted. From now on, its SHA-256 must be {SHA256}"
        in capsys.readouterr().err
    )
    assert store.is_intact(path, file)
    path.write_bytes(b"changed")
    assert not store.is_intact(path, file)


def test_the_first_hash_holds_where_the_publisher_gives_none(server, tmp_path, capsys):
    file = File(url=server.url + "good", name="weights.bin")
    path = store.fetch_file(file, tmp_path)
    path.write_bytes(b"damaged")
    assert store.fetch_file(file, tmp_path).read_bytes() == CONTENT
    assert capsys.readouterr().err.count("From now on") == 1
    for recorded in ("", "0" * 64):
        sidecar = tmp_path / WHOLE[1]
        sidecar.write_text(json.dumps({"sha256": recorded}))
        assert not store.is_intact(path, file)
    with pytest.raises(OSError, match=r"the first download.*delete .*sha256\.json"):
        store.fetch_file(file, tmp_path)


def test_damaged_cache_is_fetched_again(server, tmp_path, capsys):
    file = record(server)
    path = store.fetch_file(file, tmp_path)
    path.write_bytes(CONTENT[:-1])
    assert store.fetch_file(file, tmp_path).read_bytes() == CONTENT
    assert "is damaged and is downloaded again" in capsys.readouterr().err
    assert len(server.requests) == 2


def test_a_file_put_into_the_cache_is_not_lost(tmp_path, capsys):
    file = File(url="http://127.0.0.1:9/none", name="weights.bin")
    path = tmp_path / file.name
    path.write_bytes(CONTENT)
    with pytest.raises(OSError, match="127"):
        store.fetch_file(file, tmp_path)
    assert "has no known hash" in capsys.readouterr().err
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["drops", "no_ranges", "chunks"])
def test_dropped_connection_resumes(server, tmp_path, fault):
    path = store.fetch_file(record(server, fault), tmp_path)
    assert path.read_bytes() == CONTENT
    second = server.requests[1][1]
    assert second == f"bytes={len(CONTENT) // 3}-"
    assert left(tmp_path) == WHOLE


@pytest.mark.parametrize("fault", ["other_range", "no_range_said"])
def test_another_range_than_was_asked_for_is_not_joined(server, tmp_path, fault):
    file = File(url=server.url + fault, name="weights.bin")  # no hash would tell
    assert store.fetch_file(file, tmp_path).read_bytes() == CONTENT
    assert [requested for _, requested in server.requests][2:] == [None]
    assert left(tmp_path) == WHOLE


def test_next_call_goes_on_where_the_last_one_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_TRIES", 2)
    with pytest.raises(OSError, match=r"stopped 2 times.*to resume it"):
        store.fetch_file(record(server, "always_broken"), tmp_path)
    assert left(tmp_path) == [".weights.bin.part"]
    store.fetch_file(record(server), tmp_path)
    assert server.requests[-1][1].startswith("bytes=")
    assert left(tmp_path) == WHOLE


def test_a_length_that_is_no_number_is_no_promise(server, tmp_path):
    path = store.fetch_file(record(server, "no_number"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a": {"data_offsets": []}}',
        b'{"a": {"data_offsets": ["0", "4"]}}',
        b'{"a": {"data_offsets": {"0": 1}}}',
    ],
)
def test_a_hostile_safetensors_header_is_no_whole_file(header, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert store._may_be(part, "weights.safetensors") is False


def test_a_deeply_nested_record_of_the_hash_is_none(server, tmp_path):
    file = File(url=server.url + "good", name="weights.bin")
    path = store.fetch_file(file, tmp_path)
    (tmp_path / WHOLE[1]).write_text("[" * 100_000)
    assert store.is_intact(path, file) is False


def test_part_of_another_file_is_found_out(server, tmp_path):
    (tmp_path / ".weights.bin.part").write_bytes(b"junk" * 100)
    with pytest.raises(OSError, match="is not the published file"):
        store.fetch_file(record(server), tmp_path)
    assert left(tmp_path) == []
    assert store.fetch_file(record(server), tmp_path).read_bytes() == CONTENT


def test_part_longer_than_the_file(server, tmp_path):
    (tmp_path / ".weights.bin.part").write_bytes(CONTENT + b"more")
    assert store.fetch_file(record(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("other", "its SHA-256 must begin with"),
        ("missing", "answered HTTP 404"),
    ],
)
def test_wrong_answer_leaves_nothing(server, tmp_path, fault, message):
    with pytest.raises(OSError, match=message) as error:
        store.fetch_file(record(server, fault), tmp_path)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_page_is_not_trusted_for_want_of_a_hash(server, tmp_path, name):
    file = File(url=server.url + "page", name=name)
    with pytest.raises(OSError, match="page of a portal"):
        store.fetch_file(file, tmp_path)
    assert left(tmp_path) == []


def test_safetensors_without_a_hash_must_be_whole(tmp_path):
    from safetensors.numpy import save

    whole = save({"a": np.ones((3, 4), "float32"), "b": np.ones(2, "int8")})
    part = tmp_path / "part"
    for content, good in ((whole, True), (whole[:-1], False), (b"", False)):
        part.write_bytes(content)
        assert store._may_be(part, "weights.safetensors") == good


def test_no_network(tmp_path):
    file = File(url="http://127.0.0.1:9/weights", sha256="00", name="weights.bin")
    with pytest.raises(OSError, match="cannot be reached") as error:
        store.fetch_file(file, tmp_path)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == []


def test_preset_names_every_source_that_failed(monkeypatch, tmp_path):
    from keras_senet.weights import find_preset

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv(store.MIRROR, str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"safetensors cannot be copied.*\.pth") as error:
        store.fetch(find_preset("se_resnet50.ra2_in1k"))
    assert "weights=PATH" in str(error.value)


def test_mirror_replaces_the_publisher(server, tmp_path, monkeypatch):
    file = File(url="http://127.0.0.1:9/x", sha256=SHA256, name="weights.bin")
    monkeypatch.setenv(store.MIRROR, server.url + "mirror/")
    store.fetch_file(file, tmp_path / "one")
    assert server.requests == [("weights.bin", None)]
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(CONTENT)
    monkeypatch.setenv(store.MIRROR, str(folder))
    assert store.fetch_file(file, tmp_path / "two").read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_cache_is_keras_own(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "models" / "keras_senet"


FETCH = """
import resource, signal, sys
from pathlib import Path
if sys.argv[3] != "0":
    # What a full disk does: a write that fails in the middle.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from keras_senet.weights import store
from keras_senet.weights.presets import File
file = File(url=sys.argv[1], sha256={sha!r}, name="weights.bin")
try:
    store.fetch_file(file, Path(sys.argv[2]))
except OSError as error:
    print(error)
    sys.exit(1)
"""


def fetch_process(url, folder, limit=0):
    command = [sys.executable, "-c", FETCH.format(sha=SHA256)]
    return subprocess.Popen(
        [*command, url, str(folder), str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_two_processes_at_once(server, tmp_path):
    both = [fetch_process(server.url + "good", tmp_path) for _ in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    assert len(server.requests) == 1
    assert left(tmp_path) == WHOLE


def test_full_disk(server, tmp_path):
    process = fetch_process(server.url + "good", tmp_path, limit=len(CONTENT) // 2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output.count("\n") == 1 and "cannot hold" in output
    assert left(tmp_path) == []
