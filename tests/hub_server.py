"""A hub on this machine: the few routes that huggingface_hub asks."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse


def commit(revision):
    """The commit that a branch or a tag is at."""
    return hashlib.sha1(revision.encode()).hexdigest()


class Hub(http.server.ThreadingHTTPServer):
    """What it holds and what it was asked.

    Attributes:
        files: (repository, branch) -> name -> content.
        private: Repository -> its token.
        gated: Repositories whose terms nobody has accepted.
        damaged: Files that arrive as something else.
        requests: What was asked, "GET /user/model/resolve/main/file".
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.private, self.gated, self.damaged = {}, {}, set(), set()
        self.requests, self.uploads, self.branches = [], {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def add(self, name, files, revision="main"):
        self.files.setdefault((name, revision), {}).update(files)


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        hub, path = self.server, urllib.parse.unquote(self.path.partition("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if "resolve" in parts[2:3]:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            code = 409 if any(n == name for n, _ in hub.files) else 200
            hub.files.setdefault((name, "main"), {})
            self._json({"url": f"{hub.url}/{name}"}, code)
        elif path == "/api/whoami-v2":
            self._json({"name": "me", "type": "user", "orgs": []})
        elif parts[-1] == "validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "preupload" in parts:
            asked = json.loads(body)["files"]
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".h5") else "regular",
                    "shouldIgnore": False,
                }
                for f in asked
            ]
            self._json({"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            upload = {"href": f"{hub.url}/upload"}
            objects = json.loads(body)["objects"]
            for item in objects:
                item["actions"] = {
                    "upload": {"href": f"{upload['href']}/{item['oid']}"}
                }
            self._json({"transfer": "basic", "objects": objects})
        elif self.command == "PUT":
            hub.uploads[parts[-1]] = body
            self._json({})
        elif "branch" in parts:
            hub.branches.append(parts[-1])
            self._json({}, 409 if hub.branches.count(parts[-1]) > 1 else 200)
        elif "commit" in parts:
            self._commit("/".join(parts[2:4]), parts[-1], body)
        else:
            self._json({"error": f"no route {path}"}, 404)

    do_HEAD = do_POST = do_PUT = do_GET

    def _commit(self, name, revision, body):
        files = self.server.files.setdefault((name, revision), {})
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.uploads[value["oid"]]
        self._json(
            {
                "commitUrl": f"{self.server.url}/{name}/commit/x",
                "commitOid": commit(revision),
            }
        )

    def _file(self, name, revision, file):
        hub = self.server
        commits = {commit(r): r for n, r in hub.files if n == name}
        revision = commits.get(revision, revision)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if name in hub.gated:
            return self._error(403, "GatedRepo", name)
        known = any(n == name for n, _ in hub.files)
        if not known or hub.private.get(name, token) != token:
            return self._error(401, "RepoNotFound", name)
        if (name, revision) not in hub.files:
            return self._error(404, "RevisionNotFound", revision)
        content = hub.files[name, revision].get(file)
        headers = {"X-Repo-Commit": commit(revision)}
        if content is None:
            return self._error(404, "EntryNotFound", file, headers)
        if file.endswith((".safetensors", ".h5", ".bin")):
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            headers["X-Linked-Size"] = str(len(content))
        headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        if file in hub.damaged:
            content = bytes(len(content))
        return self._send(200, content, headers)

    def _error(self, code, kind, what, headers=None):
        text = f"{kind} {what}\nand more lines\n"
        more = {"X-Error-Code": kind, "X-Error-Message": f"{kind} {what}"}
        self._send(code, text.encode(), {**more, **(headers or {})})

    def _json(self, value, code=200):
        content = json.dumps(value).encode()
        self._send(code, content, {"Content-Type": "application/json"})

    def _send(self, code, content, headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def running():
    """A hub that answers while the block runs."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
