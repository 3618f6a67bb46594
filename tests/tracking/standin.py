"""A stand-in for W&B's servers on loopback. It answers GraphQL documents of the installed packages alone, and keeps what it is
sent. It can refuse, hang, or answer 500: `fault = "hang"`, or from an operation on, `("hang", "CreateRunFiles")`.

It shows what we send; whether W&B accepts it, it cannot.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections import defaultdict
from typing import Any

from aiohttp import web

from .documents import known

ENTITY = "someone"
VIEWER = {
    "id": "u1", "name": "Some One", "username": ENTITY, "email": "a@b.c", "admin": False, "deletedAt": None, "flags": "{}",
    "entity": ENTITY, "defaultEntity": {"id": "e1", "name": ENTITY}, "teams": {"edges": []}, "apiKeys": {"edges": []},
}  # fmt: skip
DAY = "2026-01-01T00:00:00Z"


def _id(kind: str, name: Any) -> str:
    return base64.b64encode(f"{kind}:{name}".encode()).decode()


class Standin:
    """`with Standin() as standin:` at `standin.url`. What was made: `projects`, `runs`, `views`, `charts`, `artifacts`, `used`
    (pairs of run and artifact), `history`, `files`; `asked`: operations in order; `unknown`: documents of nobody."""

    def __init__(self) -> None:
        self.projects: set[str] = set()
        self.runs: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.charts: dict[str, Any] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.used: list[tuple[str, str]] = []
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.summaries: dict[str, dict[str, Any]] = defaultdict(dict)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.unknown: list[str] = []
        self.fault: str | tuple[str, str] | None = None

    def __enter__(self) -> Standin:
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 30, middlewares=[self._faulty])
        app.router.add_post("/graphql", self._graphql)
        app.router.add_post("/files/{entity}/{project}/{run}/file_stream", self._stream)
        app.router.add_put("/upload/{name:.*}", self._upload)
        app.router.add_route("*", "/{rest:.*}", self._rest)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        ready.set()
        self._loop.run_forever()

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Any) -> web.StreamResponse:
        fault = self.fault
        if isinstance(fault, tuple):
            fault = fault[0] if fault[1] in self.asked or f'"{fault[1]}"' in await request.text() else None
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "500":
            return web.json_response({"error": "broken"}, status=500)
        if fault == "refuse":
            return web.json_response({"errors": [{"message": "permission denied"}]}, status=403)
        return await handler(request)

    async def _graphql(self, request: web.Request) -> web.Response:
        body = await request.json()
        query, given = body["query"], body.get("variables") or {}
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)[1]
        self.asked.append(operation)
        answer = getattr(self, operation, None)
        if answer is None or not known(query):
            self.unknown.append(query)
            return web.json_response({"errors": [{"message": f"stand-in: {operation} is not known"}], "data": None})
        return web.json_response({"data": answer(given)})

    async def _stream(self, request: web.Request) -> web.Response:
        run, body = request.match_info["run"], json.loads(await request.text() or "{}")
        for name, part in (body.get("files") or {}).items():
            rows = [json.loads(line) for line in part["content"]]
            if name == "wandb-history.jsonl":
                self.history[run] += rows
            if name == "wandb-summary.json":
                self.summaries[run] = rows[-1]
        return web.json_response({"exitcode": None, "limits": {}})

    async def _upload(self, request: web.Request) -> web.Response:
        self.files[request.match_info["name"]] = await request.read()
        return web.Response(text="")

    async def _rest(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=404)

    # --- who am I, what can the server do
    def Viewer(self, given: dict) -> dict:
        return {"viewer": VIEWER}

    GetViewer = GetDefaultEntity = Viewer

    def ServerFeaturesQuery(self, given: dict) -> dict:
        return {"serverInfo": {"features": []}}

    def OrganizationCoreWeaveOrganizationID(self, given: dict) -> dict:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    # --- projects
    def _project(self, name: str) -> dict:
        return {
            "id": _id("Project", name), "internalId": "1", "name": name, "entityName": ENTITY,
            "entity": {"id": "e1", "name": ENTITY}, "description": None, "createdAt": DAY, "isBenchmark": False, "user": VIEWER,
        }  # fmt: skip

    def GetProjects(self, given: dict) -> dict:
        edges = [{"node": self._project(name) | {"__typename": "Project"}} for name in sorted(self.projects)]
        return {"models": {"pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}, "edges": edges}}

    def ProjectInternalId(self, given: dict) -> dict:
        return {"project": self._project(given["projectName"]) if given["projectName"] in self.projects else None}

    def CreateProject(self, given: dict) -> dict:
        new = given["input"]["name"] not in self.projects
        self.projects.add(given["input"]["name"])
        project = self._project(given["input"]["name"])
        return {"result": {"project": project, "model": project, "inserted": new}}

    # --- workspaces (project-view) and reports (runs)
    def upsertView(self, given: dict) -> dict:
        known = given.get("id") in self.views
        number = given["id"] if known else _id("View", len(self.views) + 1)
        self.views[number] = {
            "id": number, "type": given["type"], "name": given["name"], "displayName": given["displayName"],
            "description": given.get("description"), "spec": given["spec"], "createdAt": DAY, "updatedAt": DAY,
            "project": {"id": "1", "name": given["projectName"], "entityName": given["entityName"]},
        }  # fmt: skip
        return {"upsertView": {"view": self.views[number], "inserted": not known}}

    UpsertView2 = upsertView

    def SpecificReport(self, given: dict) -> dict:
        return {"view": self.views.get(given["reportId"])}

    def View(self, given: dict) -> dict:
        found = [view for view in self.views.values() if view["name"] == given["viewName"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}

    def CreateCustomChart(self, given: dict) -> dict:
        self.charts[f"{given['entity']}/{given['chartName']}"] = json.loads(given["spec"])
        return {"createCustomChart": {"chart": {"id": f"{given['entity']}/{given['chartName']}"}}}

    # --- runs
    def RunResumeStatus(self, given: dict) -> dict:
        return {"model": self._project(given["project"]) | {"bucket": self.runs.get(given["name"])}}

    def UpsertBucket(self, given: dict) -> dict:
        name, project = given["name"], given.get("project") or "s1x"
        old = self.runs.get(name)
        self.projects.add(project)
        sent = {"displayName": "displayName", "config": "config", "tags": "tags", "jobType": "jobType", "group": "groupName"}
        told = {key: given[where] for key, where in sent.items() if given.get(where)}
        fixed = {
            "id": _id("Run", name), "name": name, "description": None, "sweepName": None, "project": self._project(project),
            "historyLineCount": 0, "logLineCount": 0, "eventsLineCount": 0, "historyTail": "[]", "eventsTail": "[]",
            "summaryMetrics": "{}", "notes": "", "wandbConfig": "{}",
        }  # fmt: skip
        self.runs[name] = {"displayName": name, "config": "{}", "tags": []} | (old or {}) | fixed | told
        return {"upsertBucket": {"bucket": self.runs[name], "inserted": old is None}}

    def CreateRunFiles(self, given: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    # --- artifacts: said to be there already, so that their upload ends here
    def ArtifactType(self, given: dict) -> dict:
        return {"project": {"artifact": None}}

    ProjectArtifactType = ArtifactType

    def CreateArtifact(self, given: dict) -> dict:
        given = given.get("input") or given
        name = given.get("artifactCollectionName") or (given.get("artifactCollectionNames") or ["?"])[0]
        number = _id("Artifact", name)
        self.artifacts[name] = given | {"id": number}
        return {
            "createArtifact": {
                "artifact": {"id": number, "state": "COMMITTED", "artifactSequence": {"id": "s1", "latestArtifact": None}}
            }
        }

    def UseArtifact(self, given: dict) -> dict:
        given = given.get("input") or given
        self.used.append((given["runName"], given["artifactID"]))
        return {"useArtifact": {"artifact": {"id": given["artifactID"], "digest": "d", "description": None, "aliases": []}}}
