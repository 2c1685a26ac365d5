"""A Hugging Face Hub on loopback, for tests: the requests that `huggingface_hub` and `hf_xet` really make.

Repositories live in memory, large files on disk. Xet storage is real: `hf_xet` accepts `local://<folder>` where the
Hub names its storage service, so the unmodified client chunks, deduplicates and stores there; a commit is refused
unless the bytes of every large file it names can be rebuilt from that storage (or came by LFS) with the right sha256.

Datasets and models are served alike, models under their own addresses; one name is one repository, of either kind.

It checks our side of the contract, not the Hub's policies: no quotas, no card checks, no viewer.
"""

import base64
import contextlib
import hashlib
import json
import re
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".tar", ".parquet", ".png", ".bin", ".safetensors")
"""Suffixes that a new dataset's .gitattributes hands to large file storage."""
REGULAR_BYTES = 10 << 20
GITATTRIBUTES = b"".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n".encode() for suffix in LARGE)
DATE = "2026-01-01T00:00:00.000Z"
PAGE = 1000
TOKEN = "hf_secretOfTheTests"  # noqa: S105 - of a server that ends with the test
RECORD = 48
"""Bytes of a record in a Xet metadata shard."""


@dataclass(frozen=True)
class Entry:
    """A file in a commit."""

    size: int
    oid: str
    """Git's: of the content, or of the LFS pointer."""
    sha256: str
    """"" for a regular file."""
    xet: str
    content: bytes
    """Of a regular file."""


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    oid: str
    title: str
    parent: str
    files: dict[str, Entry]


@dataclass
class Repository:
    """What the Hub knows of one repository."""

    private: bool
    gated: Any
    commits: dict[str, Commit]
    branches: dict[str, str]
    tags: dict[str, str]


@dataclass
class Fault:
    """What goes wrong for the next `times` requests whose `METHOD /path` matches `pattern`.

    `cut` closes the connection before anything is done, `lose` afterwards, instead of the answer; `429` comes with a
    RateLimit header; `hold` sets `held` and waits for `release`; `pass` lets them through, to reach later ones.
    """

    pattern: str
    kind: str
    times: int = 1
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message


class Hub:
    """The server; `url` is what HF_ENDPOINT is set to."""

    def __init__(self, folder: Path, token: str = TOKEN, multipart: int = 0) -> None:
        self.folder, self.token, self.multipart = folder, token, multipart
        """`multipart` is the size of the parts that LFS uploads are asked for; 0 for a single request."""
        self.cas = folder / "cas"
        self.lfs = folder / "lfs"
        self.cas.mkdir(parents=True)
        self.lfs.mkdir()
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        """`METHOD /path` of every request."""
        self.received = 0
        """Bytes of request bodies."""
        self.lock = threading.RLock()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        for fault in self.faults:
            fault.release.set()
        self.server.shutdown()
        self.server.server_close()

    def fail(self, pattern: str, kind: str, times: int = 1) -> Fault:
        """Plan a fault."""
        fault = Fault(pattern, kind, times)
        self.faults.append(fault)
        return fault

    def requests(self, pattern: str) -> list[str]:
        """Logged requests that match."""
        return [line for line in self.log if re.search(pattern, line)]

    def files(self, name: str, revision: str = "main") -> dict[str, Entry]:
        """Files of a repository at a revision, without .gitattributes."""
        commit = self.commit(self.repositories[name], revision)
        return {path: entry for path, entry in commit.files.items() if path != ".gitattributes"}

    def titles(self, name: str) -> list[str]:
        """Titles of the commits of `main`, newest first."""
        return [commit.title for commit in self.history(self.repositories[name], "main")]

    def history(self, repository: Repository, revision: str) -> Iterator[Commit]:
        """A commit and all before it."""
        oid = self.commit(repository, revision).oid
        while oid:
            yield repository.commits[oid]
            oid = repository.commits[oid].parent

    def commit(self, repository: Repository, revision: str) -> Commit:
        """What a branch, tag or commit id names."""
        name = re.sub(r"^refs/(heads|tags)/", "", revision)
        oid = repository.branches.get(name) or repository.tags.get(name) or name
        if oid not in repository.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository.commits[oid]

    def content(self, entry: Entry) -> bytes:
        """The bytes of a file."""
        return entry.content if not entry.sha256 else (self.lfs / entry.sha256).read_bytes()

    def large(self, sha256: str, size: int) -> str:
        """The Xet hash of a stored large file ("" if it came by LFS); its bytes are then in `lfs`, checked."""
        xet = self._xet_hashes().get(sha256, "")
        target = self.lfs / sha256
        if not target.exists():
            if not xet:
                raise Refused(400, "", f"LFS object {sha256} was never uploaded")
            data = _rebuild(self.cas, xet, size)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise Refused(400, "", f"content of {sha256} has another hash")
            target.write_bytes(data)
        if target.stat().st_size != size:
            raise Refused(400, "", f"LFS object {sha256} has {target.stat().st_size} bytes, not {size}")
        return xet

    def _xet_hashes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in sorted(self.cas.glob("**/*.mdb")):
            found |= _read_mdb(path.read_bytes())
        return found


def _rebuild(cas: Path, xet: str, size: int) -> bytes:
    """From a copy of the storage, because the client that wrote it still holds its lock."""
    import hf_xet

    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(cas, Path(folder, "cas"))
        group = hf_xet.XetSession().new_download_stream_group(endpoint=f"local://{copy}")
        return b"".join(group.download_stream(hf_xet.XetFileInfo(xet, size)))


def _read_mdb(data: bytes) -> dict[str, str]:
    """sha256 -> Xet hash, from a metadata shard: file records until one of 0xff, each with its segments, verification
    entries (flag bit 31) and sha256 (flag bit 30)."""
    found: dict[str, str] = {}
    at = RECORD
    while at + RECORD <= len(data) and data[at : at + 32] != b"\xff" * 32:
        name, (flags, count) = data[at : at + 32], struct.unpack_from("<II", data, at + 32)
        at += RECORD * (1 + count * (2 if flags >> 31 & 1 else 1))
        if flags >> 30 & 1:
            found[_hash_text(data[at : at + 32])] = _hash_text(name)
            at += RECORD
    return found


def _hash_text(data: bytes) -> str:
    """Xet writes hashes as four little-endian words."""
    return "".join(data[i : i + 8][::-1].hex() for i in range(0, 32, 8))


def git_oid(content: bytes) -> str:
    """Git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _regular(content: bytes) -> Entry:
    return Entry(len(content), git_oid(content), "", "", content)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_hub: Hub
    body: bytes
    kind: str
    """`datasets` or `models`."""

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def answer(self) -> None:
        hub, line = self.server_hub, f"{self.command} {self.path}"
        self.body = self._read()
        hub.log.append(line)
        hub.received += len(self.body)
        fault = self._fault(line)
        if fault and fault.kind == "hold":
            fault.held.set()
            fault.release.wait(60)
        if fault and fault.kind == "cut":
            self.close_connection = True
            return
        if fault and fault.kind in ("429", "503"):
            extra = {"RateLimit": '"api";r=0;t=1'} if fault.kind == "429" else {}
            self.send(int(fault.kind), b"planned", extra)
            return
        try:
            status, value, headers = self._route()
        except Refused as why:
            status, value = why.status, {"error": why.message}
            headers = {"X-Error-Message": why.message, **({"X-Error-Code": why.code} if why.code else {})}
        if fault and fault.kind == "lose":
            self.close_connection = True
            return
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send(status, data, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _fault(self, line: str) -> Fault | None:
        with self.server_hub.lock:
            for fault in self.server_hub.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _route(self) -> tuple[int, Any, dict[str, str]]:
        path = self._as_of_dataset(urlsplit(self.path).path)
        for method, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split():
                with self.server_hub.lock:
                    result = handler(self, **{k: unquote(v or "") for k, v in match.groupdict().items()})
                return result if isinstance(result, tuple) else (200, result, {})
        raise Refused(404, "", f"no route for {self.command} {path}")

    def _as_of_dataset(self, path: str) -> str:
        """The routes are those of datasets; models have `models` instead in the API, and nothing elsewhere."""
        self.kind = "datasets"
        if path.startswith("/api/models/"):
            self.kind = "models"
        elif re.match(r"/(?!api/|datasets/|lfs/)[^/]+/[^/]+(\.git/|/resolve/)", path):
            self.kind, path = "models", f"/datasets{path}"
        return path.replace("/api/models/", "/api/datasets/", 1)

    @property
    def _site(self) -> str:
        """What comes before the name of a repository in its address."""
        return f"{self.server_hub.url}/datasets" if self.kind == "datasets" else self.server_hub.url

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def _authorised(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.server_hub.token}"

    def _must_be_authorised(self) -> None:
        if not self._authorised():
            raise Refused(401, "", "Invalid username or password.")

    def repository(self, name: str) -> Repository:
        if self.command not in ("GET", "HEAD"):
            self._must_be_authorised()
        found = self.server_hub.repositories.get(name)
        if found is None or (found.private and not self._authorised()):
            raise Refused(401 if not self._authorised() else 404, "RepoNotFound", "Repository not found")
        if found.gated and "/resolve/" in self.path and not self._authorised():
            raise Refused(401, "GatedRepo", "Access to this dataset is restricted")
        return found

    # -- repositories

    def who(self) -> Any:
        self._must_be_authorised()
        return {"type": "user", "name": "someone", "fullname": "Someone", "orgs": [], "auth": {}}

    def validate(self) -> Any:
        text = json.loads(self.body)["content"]
        yaml.load(text.split("---\n")[1], getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return {"errors": [], "warnings": []}

    def create(self) -> Any:
        self._must_be_authorised()
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        self.kind = f"{asked.get('type', 'model')}s"
        url = f"{self._site}/{name}"
        if name in self.server_hub.repositories:
            return 409, {"error": "You already created this dataset repo", "url": url}, {}
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server_hub.repositories[name] = repository = Repository(bool(private), False, {}, {}, {})
        self._commit(repository, "main", "initial commit", {".gitattributes": _regular(GITATTRIBUTES)})
        return {"url": url, "id": name}

    def settings(self, repo: str) -> Any:
        found, asked = self.repository(repo), json.loads(self.body)
        found.gated = asked.get("gated", found.gated)
        found.private = asked.get("private", found.private)
        return {}

    def info(self, repo: str, rev: str = "main") -> Any:
        found = self.repository(repo)
        commit = self.server_hub.commit(found, rev)
        return {
            "_id": "0",
            "id": repo,
            "author": repo.partition("/")[0],
            "sha": commit.oid,
            "lastModified": DATE,
            "createdAt": DATE,
            "private": found.private,
            "gated": found.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }

    # -- reading

    def tree(self, repo: str, rev: str, path: str = "") -> Any:
        commit = self.server_hub.commit(self.repository(repo), rev)
        prefix = f"{path}/" if path else ""
        below = {name: entry for name, entry in commit.files.items() if name.startswith(prefix)}
        if prefix and not below:
            raise Refused(404, "EntryNotFound", f"{path} does not exist on {rev!r}")
        deep = self.query.get("recursive", "").lower() in ("1", "true")
        rows: dict[str, Any] = {}
        for name, entry in below.items():
            parts = name[len(prefix) :].split("/")
            for i in range(1, len(parts) if deep else min(len(parts), 2)):
                folder = prefix + "/".join(parts[:i])
                rows[folder] = {"type": "directory", "oid": git_oid(folder.encode()), "size": 0, "path": folder}
            if deep or len(parts) == 1:
                rows[name] = self._row(name, entry, commit)
        listed, at = [rows[name] for name in sorted(rows)], int(self.query.get("cursor", 0))
        headers = {}
        if at + PAGE < len(listed):
            query = f"recursive={deep}&expand={self.query.get('expand', '')}&cursor={at + PAGE}"
            headers["Link"] = f'<{self.server_hub.url}{urlsplit(self.path).path}?{query}>; rel="next"'
        return 200, listed[at : at + PAGE], headers

    def _row(self, path: str, entry: Entry, commit: Commit) -> dict[str, Any]:
        row: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if entry.sha256:
            row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
        if entry.xet:
            row["xetHash"] = entry.xet
        if self.query.get("expand", "").lower() in ("1", "true"):
            row["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": DATE}
        return row

    def paths_info(self, repo: str, rev: str) -> Any:
        found = self.server_hub.repositories[repo]
        commit = self.server_hub.commit(found, rev)
        content_type = self.headers.get("Content-Type", "")
        asked = json.loads(self.body) if "json" in content_type else parse_qs(self.body.decode())
        return [self._row(path, commit.files[path], commit) for path in asked["paths"] if path in commit.files]

    def resolve(self, repo: str, rev: str, path: str) -> Any:
        commit = self.server_hub.commit(self.repository(repo), rev)
        if path not in commit.files:
            raise Refused(404, "EntryNotFound", f"{path} does not exist on {rev!r}")
        entry = commit.files[path]
        data = self.server_hub.content(entry)
        etag = f'"{entry.sha256 or entry.oid}"'
        headers = {
            "X-Repo-Commit": commit.oid,
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if entry.sha256:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
        if entry.xet:
            auth = f"{self.server_hub.url}/api/{self.kind}/{repo}/xet-read-token/{commit.oid}"
            headers |= {"X-Xet-Hash": entry.xet, "Link": f'<{auth}>; rel="xet-auth"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return 200, data, headers
        start, end = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return 206, data[start : end + 1], headers

    def xet_token(self, repo: str, rev: str) -> Any:
        if "write" in self.path:
            self._must_be_authorised()
        self.repository(repo)
        cas, expires = f"local://{self.server_hub.cas}", int(time.time()) + 3600
        headers = {
            "X-Xet-Cas-Url": cas,
            "X-Xet-Access-Token": "xet",
            "X-Xet-Token-Expiration": str(expires),
        }
        return 200, {"accessToken": "xet", "exp": expires, "casUrl": cas}, headers

    # -- writing

    def preupload(self, repo: str, rev: str) -> Any:
        commit = self.server_hub.commit(self.repository(repo), rev)
        files = []
        for asked in json.loads(self.body)["files"]:
            path, is_large = asked["path"], asked["path"].endswith(LARGE) or asked["size"] > REGULAR_BYTES
            row = {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            if path in commit.files:
                row["oid"] = commit.files[path].sha256 or commit.files[path].oid
            files.append(row)
        return {"files": files}

    def batch(self, repo: str) -> Any:
        self.repository(repo)
        asked = json.loads(self.body)
        objects = []
        for one in asked["objects"]:
            row = {"oid": one["oid"], "size": one["size"]}
            if not (self.server_hub.lfs / one["oid"]).exists():
                row["actions"] = {"upload": self._upload(one["oid"], one["size"])}
            objects.append(row)
        return {"transfer": "multipart" if self.server_hub.multipart else "basic", "objects": objects}

    def _upload(self, oid: str, size: int) -> dict[str, Any]:
        url, part = f"{self.server_hub.url}/lfs/{oid}", self.server_hub.multipart
        if not part:
            return {"href": url}
        count = -(-size // part)
        header = {"chunk_size": str(part)} | {f"{i:05d}": f"{url}/{i}" for i in range(1, count + 1)}
        return {"href": f"{url}/complete", "header": header}

    def put(self, oid: str, part: str = "") -> Any:
        if not part:
            self._store(oid, self.body)
            return {}
        (self.server_hub.lfs / f"{oid}.{part}").write_bytes(self.body)
        return 200, {}, {"ETag": f'"{hashlib.sha256(self.body).hexdigest()}"'}

    def complete(self, oid: str) -> Any:
        parts = [self.server_hub.lfs / f"{oid}.{part['partNumber']}" for part in json.loads(self.body)["parts"]]
        self._store(oid, b"".join(path.read_bytes() for path in parts))
        return {}

    def _store(self, oid: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400, "", "content has another hash")
        (self.server_hub.lfs / oid).write_bytes(data)

    def commit(self, repo: str, rev: str) -> Any:
        found = self.repository(repo)
        if rev not in found.branches:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        head = found.commits[found.branches[rev]]
        files, title = dict(head.files), ""
        for line in self.body.splitlines():
            key, value = json.loads(line)["key"], json.loads(line)["value"]
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, head.oid):
                    raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = _regular(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                xet = self.server_hub.large(value["oid"], value["size"])
                oid = git_oid(_pointer(value["oid"], value["size"]))
                files[value["path"]] = Entry(value["size"], oid, value["oid"], xet, b"")
            elif key == "deletedFile":
                del files[value["path"]]
            elif key == "deletedFolder":
                below = value["path"].rstrip("/") + "/"
                files = {path: entry for path, entry in files.items() if not path.startswith(below)}
        made = self._commit(found, rev, title, files)
        url = f"{self._site}/{repo}/commit/{made.oid}"
        return {"success": True, "commitOid": made.oid, "commitUrl": url}

    def _commit(self, found: Repository, branch: str, title: str, files: dict[str, Entry]) -> Commit:
        parent = found.branches.get(branch, "")
        text = f"{parent} {title} {len(found.commits)} {sorted((p, e.oid) for p, e in files.items())}"
        oid = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324
        found.commits[oid] = Commit(oid, title, parent, files)
        found.branches[branch] = oid
        return found.commits[oid]

    # -- references

    def refs(self, repo: str) -> Any:
        found = self.repository(repo)

        def rows(names: dict[str, str], kind: str) -> list[Any]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in names.items()]

        return {"branches": rows(found.branches, "heads"), "tags": rows(found.tags, "tags"), "converts": []}

    def commits(self, repo: str, rev: str) -> Any:
        found = self.repository(repo)
        rows = self.server_hub.history(found, rev)
        return [{"id": c.oid, "title": c.title, "message": "", "authors": [], "date": DATE} for c in rows]

    def tag(self, repo: str, rev: str) -> Any:
        found = self.repository(repo)
        if self.command == "DELETE":
            del found.tags[rev]
            return {}
        name = json.loads(self.body)["tag"]
        if name in found.tags:
            raise Refused(409, "", f"Tag reference exists already: {name}")
        found.tags[name] = self.server_hub.commit(found, rev).oid
        return {}

    def branch(self, repo: str, rev: str) -> Any:
        found = self.repository(repo)
        if self.command == "DELETE":
            del found.branches[rev]
            return {}
        if rev in found.branches:
            raise Refused(409, "", f"Reference already exists: {rev}")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        found.branches[rev] = self.server_hub.commit(found, start).oid
        return {}


_REPO = r"/api/datasets/(?P<repo>[^/]+/[^/]+)"
ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/api/whoami-v2", _Handler.who),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", "/api/repos/create", _Handler.create),
    ("PUT", _REPO + "/settings", _Handler.settings),
    ("GET", _REPO, _Handler.info),
    ("GET", _REPO + "/revision/(?P<rev>[^/]+)", _Handler.info),
    ("GET", _REPO + "/tree/(?P<rev>[^/]+)(/(?P<path>.+))?", _Handler.tree),
    ("POST", _REPO + "/paths-info/(?P<rev>[^/]+)", _Handler.paths_info),
    ("GET", _REPO + "/xet-(write|read)-token/(?P<rev>[^/]+)", _Handler.xet_token),
    ("POST", _REPO + "/preupload/(?P<rev>[^/]+)", _Handler.preupload),
    ("POST", _REPO + "/commit/(?P<rev>[^/]+)", _Handler.commit),
    ("GET", _REPO + "/refs", _Handler.refs),
    ("GET", _REPO + "/commits/(?P<rev>[^/]+)", _Handler.commits),
    ("POST DELETE", _REPO + "/tag/(?P<rev>[^/]+)", _Handler.tag),
    ("POST DELETE", _REPO + "/branch/(?P<rev>[^/]+)", _Handler.branch),
    ("POST", r"/datasets/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})(/(?P<part>[0-9]+))?", _Handler.put),
    ("POST", "/lfs/(?P<oid>[0-9a-f]{64})/complete", _Handler.complete),
    ("GET HEAD", "/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)", _Handler.resolve),
)
