"""The service put together: a workspace's champions behind the gate."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from subsight.errors import SubsightError
from subsight.lifecycle.audit import AuditLog
from subsight.lifecycle.registry import Registry
from subsight.surfaces.api.documents import DESCRIBED, page, schemas
from subsight.surfaces.api.endpoints import Endpoints
from subsight.surfaces.api.gate import Gate
from subsight.surfaces.api.journal import Journal
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.live import Champions, Experiment, Live
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.refusals import RefusedError, explain, reply
from subsight.surfaces.api.security import Guard
from subsight.workspace import Workspace

__all__ = ["create_app"]

_SUMMARIES: Final = {
    "/predict": "Predict one subscriber's satisfaction; the fields choose the model.",
    "/predict/batch": "Predict many; all rows by one model.",
    "/subscribers/{id}": "One subscriber's profile and scores.",
    "/feedback": "Keep a subscriber's survey answer, for models that learn from them.",
    "/monitoring": "Drift and performance of the champions, as last watched.",
    "/health": "Whether the process answers.",
    "/ready": "Whether predictions can be made, and if not, why.",
    "/metrics": "Counters for Prometheus.",
    "/model": "The models that answer: version, card, metrics, code.",
}


def create_app(
    workspace: Workspace,
    audit: AuditLog,
    *,
    auth: Literal["keys", "off"] = "keys",
    host: str = "127.0.0.1",
    limits: Limits | None = None,
    experiment: Experiment | None = None,
) -> Gate:
    """The service over a workspace as an ASGI application.

    `audit` is started, and closed, by the caller, in the process that serves. `host` is the address that
    will be listened on: without keys only this machine is served.

    Raises:
        ConfigurationError: it would be open to other machines.
    """
    limits, metrics = limits or Limits(), Metrics()
    guard = Guard(ApiKeys(workspace), auth, host)
    guard.check_start()
    live = Live(Registry(workspace), experiment)
    endpoints = Endpoints(workspace, live, Journal(audit, metrics), limits, metrics)
    app = FastAPI(
        title="Subsight",
        version=version("subsight"),
        description="Predictions of satisfaction, subscribers, and the models behind them.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A path that differs by a slash is another path: what needs a key is decided by the path.
        redirect_slashes=False,
    )
    for kind in (RefusedError, SubsightError, HTTPException, Exception):
        app.add_exception_handler(kind, _explain)
    _add_routes(app, endpoints)
    _add_documents(app, live, guard)
    hot = {("POST", "/predict"): endpoints.predict, ("POST", "/predict/batch"): endpoints.predict_batch}
    return Gate(app, hot, guard, limits, metrics)


async def _explain(_request: Request, error: Exception) -> Response:
    return explain(error)


def _add_routes(app: FastAPI, endpoints: Endpoints) -> None:
    async def predict(request: Request) -> Response:
        return await endpoints.predict(request.scope, request.receive)

    async def predict_batch(request: Request) -> Response:
        return await endpoints.predict_batch(request.scope, request.receive)

    async def feedback(request: Request) -> Response:
        return await endpoints.feedback(request.scope, request.receive)

    answers: dict[str, tuple[str, Any]] = {
        "/predict": ("POST", predict),
        "/predict/batch": ("POST", predict_batch),
        "/subscribers/{id}": ("GET", endpoints.subscriber),
        "/feedback": ("POST", feedback),
        "/monitoring": ("GET", endpoints.monitoring),
        "/health": ("GET", endpoints.health),
        "/ready": ("GET", endpoints.ready),
        "/metrics": ("GET", endpoints.metrics),
        "/model": ("GET", endpoints.models),
    }
    for path, (method, endpoint) in answers.items():
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            # FastAPI adds its own word of a status that is not the one described.
            status_code=int(min(DESCRIBED[path]["responses"])),
            summary=_SUMMARIES[path],
            response_class=Response,
            openapi_extra=dict(DESCRIBED[path]),
        )


class _Documents:
    """The OpenAPI document, made again only where a champion or the need of a key changed."""

    def __init__(self, app: FastAPI, live: Live, guard: Guard) -> None:
        self._app, self._live, self._guard = app, live, guard
        self._of: tuple[Champions, bool] | None = None
        self._document: dict[str, Any] = {}
        self._page: str | None = None

    def page(self) -> str:
        """The document as a page."""
        document = self.openapi()
        self._page = self._page or page(document)
        return self._page

    def openapi(self) -> dict[str, Any]:
        """The document as of now."""
        of = self._live.champions(), self._guard.wants_keys
        if self._of is None or of[0] is not self._of[0] or of[1] != self._of[1]:
            app = self._app
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = document.setdefault("components", {})
            components["schemas"] = schemas(of[0])
            if of[1]:
                bearer = {"type": "http", "scheme": "bearer"}
                header = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
                components["securitySchemes"] = {"bearer": bearer, "header": header}
                for path, operations in document["paths"].items():
                    if path not in ("/health", "/ready"):
                        for operation in operations.values():
                            operation["security"] = [{"bearer": []}, {"header": []}]
            self._of, self._document, self._page = of, document, None
        return self._document


def _add_documents(app: FastAPI, live: Live, guard: Guard) -> None:
    documents = _Documents(app, live, guard)

    async def openapi(_request: Request) -> Response:
        return reply(documents.openapi())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(documents.page())

    app.openapi = documents.openapi  # type: ignore[method-assign]
    app.add_route("/openapi.json", openapi, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
