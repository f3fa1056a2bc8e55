"""A small W&B service on this machine, for the real library to talk to; no network.

It answers the requests that wandb 0.31 makes, in the form in which the library reads the answers, and keeps what it is
sent. How the true service behaves beyond that is not known here.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "a" * 40
ENTITY = "team"
WHEN = "2026-01-01T00:00:00Z"

_OPERATION = re.compile(r"(?:query|mutation)\s+(\w+)")


@dataclass
class Run:
    """A run as the service keeps it."""

    project: str
    fields: dict[str, Any] = field(default_factory=dict)  # displayName, groupName, tags, ...
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)  # of each streamed file
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The logged rows, in order."""
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]


@dataclass
class Version:
    """One version of an artifact."""

    id: str
    project: str
    name: str
    number: int
    run: str
    digest: str
    metadata: str
    aliases: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""
    is_committed: bool = False


class WandbService:
    """The service; `url` is where it listens. A name of `refused` is a GraphQL operation that it answers with 400."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.versions: list[Version] = []
        self.uploads: dict[str, bytes] = {}  # a run's own files: <run>/<name>
        self.asked: list[str] = []  # names of GraphQL operations
        self.refused: set[str] = set()
        self.is_deaf = False  # takes no more lines
        self.unknown: list[str] = []  # operations that this service does not know
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    # -------------------------------------------------------------------------------------------------- requests

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Return the data of a GraphQL operation; None if it is refused."""
        self.asked.append(operation)
        method = getattr(self, f"_{operation}", None)
        if method is None:
            self.unknown.append(f"{operation} {variables}")
        if method is None or operation in self.refused:
            return None
        data: dict[str, Any] = method(variables)
        return data

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Take lines of a run's files, at the places that the library gives."""
        for name, part in (body.get("files") or {}).items():
            lines = self.runs[run].lines.setdefault(name, [])
            lines[part["offset"] : part["offset"] + len(part["content"])] = part["content"]
        if body.get("complete"):
            self.runs[run].exit_code = body["exitcode"]

    def put(self, path: str, content: bytes) -> None:
        """Take a file."""
        kind, _, name = path.removeprefix("/").partition("/")
        if kind == "run":
            self.uploads[name] = content
        elif kind == "manifest":
            self._version(name).manifest = content
        else:
            version, _, file = name.partition("/")
            self._version(version).files[file] = content

    def get(self, path: str) -> bytes:
        """Give a file back."""
        parts = path.removeprefix("/").split("/")
        if parts[0] == "manifest":
            return self._version(parts[1]).manifest
        return self._version(parts[1]).files[parts[2]]

    def _find(self, asked: dict[str, Any]) -> Version | None:
        name, _, wanted = asked["name"].partition(":")
        for version in self.versions:
            is_it = version.name == name and wanted in (f"v{version.number}", *version.aliases)
            if is_it and (version.project, asked["entity"]) == (asked["project"], ENTITY):
                return version
        return None

    def _version(self, id: str) -> Version:
        return next(version for version in self.versions if version.id == id)

    # -------------------------------------------------------------------------------------------------- the session

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"viewer": {"id": "U", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    _GetDefaultEntity = _Viewer

    def _ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"serverInfo": {"features": []}}

    def _OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"entity": None}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        bucket = self._bucket(asked["name"]) if asked["name"] in self.runs else None
        return {"model": {**_project(asked["project"]), "bucket": bucket}}

    def _UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        is_new = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], Run(asked["project"]))
        if asked["config"]:
            run.config = json.loads(asked["config"])
        run.fields |= {name: value for name, value in asked.items() if value is not None and name != "config"}
        return {"upsertBucket": {"bucket": self._bucket(asked["name"]), "inserted": is_new}}

    def _bucket(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        history, events = (run.lines.get(f"wandb-{kind}.jsonl", []) for kind in ("history", "events"))
        return {
            "id": f"R{name}",
            "name": name,
            "displayName": run.fields.get("displayName"),
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "tags": run.fields.get("tags", []),
            "notes": run.fields.get("notes"),
            "summaryMetrics": run.lines.get("wandb-summary.json", ["{}"])[-1],
            "logLineCount": 0,
            "historyLineCount": len(history),
            "eventsLineCount": len(events),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "wandbConfig": json.dumps({"t": 1}),
            "project": _project(run.project),
        }

    def _CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/run/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    # -------------------------------------------------------------------------------------------------- artifacts up

    def _CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        given = asked["input"]
        project, name = given["projectName"], given["artifactCollectionName"]
        number = sum((version.project, version.name) == (project, name) for version in self.versions)
        aliases = [alias["alias"] for alias in given["aliases"]]
        made = Version(
            f"A{len(self.versions)}",
            project,
            name,
            number,
            given["runName"],
            given["digest"],
            given["metadata"],
            aliases,
        )
        for older in self.versions:
            if (older.project, older.name) == (project, name):
                older.aliases = [alias for alias in older.aliases if alias not in aliases]
        self.versions.append(made)
        artifact = {"id": made.id, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        manifest = asked["artifactID"]
        return {
            "createArtifactManifest": {"artifactManifest": {"id": manifest, "file": self._file("manifest", manifest)}}
        }

    def _CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        nodes = [
            {
                **self._file("file", f"{file['artifactID']}/{file['name']}"),
                "storagePath": "",
                "artifact": {"id": file["artifactID"]},
                "uploadMultipartUrls": None,
            }
            for file in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _file(self, kind: str, name: str) -> dict[str, Any]:
        last = name.rpartition("/")[2]
        return {
            "id": name,
            "name": last,
            "displayName": last,
            "uploadUrl": f"{self.url}/{kind}/{name}",
            "uploadHeaders": [],
        }

    def _ArtifactType(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        is_there = self._find(asked) is not None
        return {"project": {"artifact": {"artifactType": {"name": "model"}} if is_there else None}}

    def _CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        version = self._version(asked["artifactID"])
        version.is_committed = True
        return {"commitArtifact": {"artifact": {"id": version.id, "digest": version.digest}}}

    # ------------------------------------------------------------------------------------------------ artifacts down

    def _ArtifactByID(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"artifact": _artifact(self._version(asked["id"]))}

    def _ArtifactMembershipByName(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        version = self._find(asked)
        return {"project": {"artifactCollectionMembership": None if version is None else _membership(version)}}

    def _GetArtifactMembershipFileUrls(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        version = self._find(asked | {"name": f"{asked['collection']}:{asked['alias']}"})
        assert version is not None
        nodes = [
            {"__typename": "File", "name": name, "directUrl": f"{self.url}/file/{version.id}/{name}"}
            for name in version.files
        ]
        files = {
            "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False},
            "edges": [{"node": node} for node in nodes],
        }
        membership = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": membership}}

    def _FetchArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        url = f"{self.url}/manifest/{asked['id']}"
        return {"artifact": {"currentManifest": {"id": "M", "file": {"directUrl": url}}}}

    def _ArtifactCreatedBy(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        version = self._version(asked["id"])
        run = {"__typename": "Run", "id": version.run, "name": version.run, "project": _project(version.project)}
        return {"artifact": {"createdBy": run}}

    def _Run(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if asked["name"] not in self.runs:
            return {"project": {"run": None}}
        bucket = self._bucket(asked["name"])
        return {"project": {"run": {**bucket, "projectId": "1", "state": "finished", "user": {}}}}


def _project(name: str) -> dict[str, Any]:
    return {"id": "P", "internalId": "P", "name": name, "entity": {"id": "E", "name": ENTITY}}


def _artifact(version: Version) -> dict[str, Any]:
    return {
        "__typename": "Artifact",
        "id": version.id,
        "artifactSequence": {
            "__typename": "ArtifactSequence",
            "name": version.name,
            "project": _project(version.project),
        },
        "versionIndex": version.number,
        "artifactType": {"name": "model"},
        "description": None,
        "metadata": version.metadata,
        "ttlDurationSeconds": -2,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED" if version.is_committed else "PENDING",
        "size": sum(map(len, version.files.values())),
        "digest": version.digest,
        "commitHash": None,
        "fileCount": len(version.files),
        "createdAt": WHEN,
        "updatedAt": WHEN,
        "aliases": [],
    }


def _membership(version: Version) -> dict[str, Any]:
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": version.id,
        "versionIndex": version.number,
        "createdAt": WHEN,
        "aliases": [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias}
            for alias in (f"v{version.number}", *version.aliases)
        ],
        "artifactCollection": {
            "__typename": "ArtifactSequence",
            "name": version.name,
            "project": _project(version.project),
        },
        "artifact": _artifact(version),
    }


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(service: WandbService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _body(self) -> bytes:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            return gzip.decompress(content) if self.headers.get("content-encoding") == "gzip" else content

        def _reply(self, content: bytes | dict[str, Any], status: int = 200) -> None:
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def do_GET(self) -> None:
            self._reply(service.get(self.path))

        def do_PUT(self) -> None:
            service.put(self.path, self._body())
            self._reply({})

        def do_POST(self) -> None:
            body = self._body()
            if self.path == "/graphql":
                query = json.loads(body)
                operation = _OPERATION.search(query["query"])[1]
                data = service.answer(operation, query.get("variables") or {})
                if data is None:
                    self._reply({"errors": [{"message": f"{operation} is refused"}]}, 400)
                else:
                    self._reply({"data": data})
            elif self.path.endswith("/file_stream") and service.is_deaf:
                self._reply({}, 503)
            elif self.path.endswith("/file_stream"):
                service.stream(self.path.split("/")[-2], json.loads(body))
                self._reply({"limits": {}})
            else:  # the library's own telemetry
                self._reply({})

    return Handler
