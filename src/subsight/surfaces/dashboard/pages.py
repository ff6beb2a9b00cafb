"""The pages: which address shows what, to whom, and what is said where it cannot be shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from subsight.errors import InputError, NotFoundError, SubsightError
from subsight.lifecycle.audit import AuditLog
from subsight.surfaces.api.gate import asked
from subsight.surfaces.api.refusals import RefusedError, explain
from subsight.surfaces.api.security import Guard
from subsight.surfaces.dashboard import assets, login
from subsight.surfaces.dashboard.addresses import is_page, view_of
from subsight.surfaces.dashboard.content import Content
from subsight.workspace import Workspace

__all__ = ["Pages"]

Made = TypeVar("Made")
_HEADERS: Final = {
    "Content-Security-Policy": assets.POLICY,
    # A form says of which page it comes, which no-referrer would hide.
    "Referrer-Policy": "same-origin",
}
_LARGEST_FORM: Final = 4_000
_AT_ONCE: Final = 8


class Pages:
    """The dashboard of a service."""

    def __init__(self, workspace: Workspace, guard: Guard, audit: AuditLog) -> None:
        self._guard = guard
        self._content = Content(workspace, audit)
        # Pages take their time: neither the event loop nor the threads of predictions may wait for them.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pages")

    def close(self) -> None:
        """Ends the process that draws."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._content.close()

    def prepare(self) -> None:
        """Begins to draw the current run's charts, so that the first reader does not wait for them."""
        self._content.prepare()

    def add_to(self, app: FastAPI) -> None:
        """Adds the pages to an application."""
        content = self._content
        shown: dict[str, Callable[..., tuple[str, dict[str, Any]]]] = {
            "/": content.overview, "/studies/{study}": content.study, "/models": content.models,
            "/runs": content.runs, "/glossary": content.glossary, "/find": content.lookups.find,
            "/people/{pseudonym}": content.lookups.person,
        }  # fmt: skip
        for path, make in shown.items():
            app.add_route(path, self._page(make), methods=["GET"], include_in_schema=False)
        routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/studies/{study}/{question}": ("GET", self._question),
            "/static/{name}": ("GET", self._static),
        }
        for path, (method, endpoint) in routes.items():
            app.add_route(path, endpoint, methods=[method], include_in_schema=False)
        app.add_route("/find", self._find, methods=["POST"], include_in_schema=False)
        app.add_route("/login", self._login, methods=["GET", "POST"], include_in_schema=False)
        app.add_route("/logout", self._logout, methods=["POST"], include_in_schema=False)

    # What is shown

    def _page(self, make: Callable[..., tuple[str, dict[str, Any]]]) -> Callable[..., Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await self._made(request, make)

        return answer

    async def _made(self, request: Request, make: Callable[..., tuple[str, dict[str, Any]]]) -> Response:
        view = view_of(request.query_params.multi_items())
        return await self._apart(
            lambda: self._rendered(request.scope, *make(view, asked(request.scope), **request.path_params))
        )

    async def _apart(self, make: Callable[[], Made]) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self._threads, make)

    async def _question(self, request: Request) -> Response:
        name = request.path_params["question"]
        stem, dot, kind = name.rpartition(".")
        if not dot:
            return await self._made(request, self._content.question)
        view = view_of(request.query_params.multi_items())
        content, media = await self._apart(
            lambda: self._content.download(
                view, asked(request.scope), request.path_params["study"], stem, kind
            )
        )
        headers = {"Content-Disposition": f'attachment; filename="{quote(name)}"'}
        return Response(content, media_type=media, headers=headers)

    async def _static(self, request: Request) -> Response:
        found = assets.file(request.path_params["name"])
        if found is None:
            raise NotFoundError("there is no such file")
        return found

    # Who is looked for, and who looks

    async def _find(self, request: Request) -> Response:
        form = await self._form(request)
        pseudonym = await self._apart(
            lambda: self._content.lookups.look_up(form.get("subscriber", ""), asked(request.scope))
        )
        return RedirectResponse(f"/people/{pseudonym}", 303)

    async def _login(self, request: Request) -> Response:
        if not self._guard.wants_keys:
            return RedirectResponse("/", 303)
        after = request.query_params.get("next", "/")
        trouble = None
        if request.method == "POST":
            form = await self._form(request)
            after = login.target(form.get("next", "/"))
            if token := self._guard.admit(form.get("key", "").strip()):
                return RedirectResponse(after, 303, headers=login.cookie(token, asked(request.scope).headers))
            trouble = "The key is not known, or has not the role read."
        context = {"next": login.target(after), "trouble": trouble}
        return self._rendered(request.scope, "login.jinja", context, 401 if trouble else 200)

    async def _logout(self, request: Request) -> Response:
        await self._form(request)
        self._guard.sessions.end(asked(request.scope).headers)
        return RedirectResponse("/login", 303, headers=login.cleared())

    async def _form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form that a page of ours sent.

        Raises:
            RefusedError: 403 of another site's page, 413 of a large one.
        """
        if not login.is_own(asked(request.scope).headers):
            raise RefusedError(
                403, "the form was not sent by a page of this service", do="open the page here, then send it"
            )
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_FORM:
                raise RefusedError(413, "the form is too large")
        return dict(parse_qsl(body.decode("utf-8", "replace")))

    # Where something cannot be shown

    def explains(self, scope: Scope, route: str) -> bool:
        """Whether the request asks for a page: by its address, or of none by what its sender reads."""
        accept = dict(scope["headers"]).get(b"accept", b"")
        return is_page(route) or (route == "other" and b"text/html" in accept)

    def explained(self, scope: Scope, error: Exception) -> Response:
        """A page that says why there is no other; the login page where a key is needed."""
        if isinstance(error, InputError):
            status, told = 422, {k: getattr(error, k) for k in ("what", "found", "expected", "do")}
            return self._rendered(scope, "error.jinja", {"status": status, **told}, status)
        refused = explain(error)
        status = refused.status_code
        if status == 401:
            query = scope["query_string"].decode("latin-1")
            path = scope["path"] + (f"?{query}" if query else "")
            after = "" if scope["method"] != "GET" or path == "/" else f"?next={quote(path, safe='/')}"
            return RedirectResponse(f"/login{after}", 303)
        told = _told(error, refused)
        response = self._rendered(scope, "error.jinja", {"status": status, **told}, status)
        for name in ("retry-after", "allow"):
            if name in refused.headers:
                response.headers[name] = refused.headers[name]
        return response

    def _rendered(
        self, scope: Scope, name: str, context: Mapping[str, Any], status: int = 200
    ) -> HTMLResponse:
        found = scope.get("subsight")
        frame = self._content.frame(scope["path"], found.roles if found else frozenset())
        frame["signed_in"] = found is not None and found.caller.startswith("key ")
        text = assets.environment().get_template(name).render({**frame, **context})
        return HTMLResponse(text, status, headers=_HEADERS)


def _told(error: Exception, refused: Response) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(bytes(refused.body))["error"]
    if isinstance(error, SubsightError) and refused.status_code == 404:
        told["do"] = error.do
    if told["do"] == "GET /docs lists what there is":
        told["do"] = "choose a page from the menu"
    return told
