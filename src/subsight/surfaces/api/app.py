"""The service put together: a workspace's champions behind the gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from subsight.errors import SubsightError
from subsight.lifecycle import recommending
from subsight.lifecycle.audit import AuditLog
from subsight.lifecycle.following import Followed
from subsight.lifecycle.recommending import Offers
from subsight.lifecycle.registry import Registry
from subsight.lifecycle.segmentation import Segmenter, Watched
from subsight.settings import Settings, load
from subsight.surfaces.api.documents import DESCRIBED, page, schemas, show_segments
from subsight.surfaces.api.endpoints import Endpoints
from subsight.surfaces.api.gate import Endpoint, Gate, route
from subsight.surfaces.api.journal import Journal
from subsight.surfaces.api.keys import ApiKeys
from subsight.surfaces.api.limits import Limits
from subsight.surfaces.api.live import Champions, Experiment, Live
from subsight.surfaces.api.metrics import Metrics
from subsight.surfaces.api.offer_documents import OFFERS_DESCRIBED, show_offers
from subsight.surfaces.api.offers import OfferAnswers
from subsight.surfaces.api.refusals import RefusedError, explain, reply
from subsight.surfaces.api.security import Guard
from subsight.surfaces.api.segments import Segments
from subsight.surfaces.dashboard.pages import Pages
from subsight.workspace import Workspace

__all__ = ["create_app"]

_SUMMARIES: Final = {
    "/predict": "Predict one subscriber's satisfaction; the fields choose the model.",
    "/predict/batch": "Predict many; all rows by one model.",
    "/segments/predict": "Say which segment subscribers of these values belong to.",
    "/subscribers/{id}": "One subscriber's profile and scores.",
    "/subscribers/{id}/segment": "One subscriber's segment, the runner-up, and what decided.",
    "/subscribers/{id}/offers": "The offers that suit one subscriber, with reasons.",
    "/offers/recommend": "Recommend offers to a subscriber, to usage that is sent, or to many.",
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
    watched: Watched | None = None,
    metrics: Metrics | None = None,
    settings: Settings | None = None,
) -> Gate:
    """The service over a workspace as an ASGI application.

    `audit` is started, and closed, by the caller, in the process that serves. `host` is the address that
    will be listened on: without keys only this machine is served. `watched` and `metrics` are given where
    another door of the same service answers from the same segmentation and is counted with it. `settings`
    are those of the workspace, if no others are given: offers have to be valid on their day `as_of`.

    Raises:
        ConfigurationError: it would be open to other machines.
    """
    limits, metrics, watched = limits or Limits(), metrics or Metrics(), watched or Watched(workspace)
    guard = Guard(ApiKeys(workspace), auth, host)
    guard.check_start()
    live = Live(Registry(workspace), experiment)
    journal = Journal(audit, metrics)
    offers = recommending.followed(workspace, settings or load(workspace.settings_file))
    # What a map takes to load, scikit-learn above all, is loaded before anybody waits for it.
    offers.current()
    endpoints = Endpoints(workspace, live, journal, limits, metrics, watched, offers)
    segments = Segments(workspace, watched, journal, limits)
    offered = OfferAnswers(workspace, offers, journal, limits)
    pages = Pages(workspace, guard, audit)
    app = FastAPI(
        title="Subsight",
        version=version("subsight"),
        description="Predictions of satisfaction, segments, offers, subscribers, and the models behind them.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A path that differs by a slash is another path: what needs a key is decided by the path.
        redirect_slashes=False,
    )
    for kind in (RefusedError, SubsightError, HTTPException, Exception):
        app.add_exception_handler(kind, _explaining(pages))
    _add_routes(app, endpoints, segments, offered)
    _add_documents(app, live, watched, offers, guard)
    pages.add_to(app)
    hot = {
        ("POST", "/predict"): endpoints.predict,
        ("POST", "/predict/batch"): endpoints.predict_batch,
        ("POST", "/segments/predict"): segments.predict,
        ("POST", "/offers/recommend"): offered.recommend,
    }
    return Gate(app, hot, guard, limits, metrics, pages)


def _explaining(pages: Pages) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def told(request: Request, error: Exception) -> Response:
        is_page = pages.explains(request.scope, route(request.scope["path"]))
        return pages.explained(request.scope, error) if is_page else explain(error)

    return told


def _routed(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await endpoint(request.scope, request.receive)

    return answer


def _add_routes(app: FastAPI, endpoints: Endpoints, segments: Segments, offered: OfferAnswers) -> None:
    answers: dict[str, tuple[str, Any]] = {
        "/predict": ("POST", _routed(endpoints.predict)),
        "/predict/batch": ("POST", _routed(endpoints.predict_batch)),
        "/segments/predict": ("POST", _routed(segments.predict)),
        "/subscribers/{id}": ("GET", endpoints.subscriber),
        "/subscribers/{id}/segment": ("GET", segments.subscriber),
        "/subscribers/{id}/offers": ("GET", offered.subscriber),
        "/offers/recommend": ("POST", _routed(offered.recommend)),
        "/feedback": ("POST", _routed(endpoints.feedback)),
        "/monitoring": ("GET", endpoints.monitoring),
        "/health": ("GET", endpoints.health),
        "/ready": ("GET", endpoints.ready),
        "/metrics": ("GET", endpoints.metrics),
        "/model": ("GET", endpoints.models),
    }
    described = {**DESCRIBED, **OFFERS_DESCRIBED}
    for path, (method, endpoint) in answers.items():
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            # FastAPI adds its own word of a status that is not the one described.
            status_code=int(min(described[path]["responses"])),
            summary=_SUMMARIES[path],
            response_class=Response,
            openapi_extra=dict(described[path]),
        )


class _Documents:
    """The OpenAPI document, made again only where who answers, or the need of a key, changed."""

    def __init__(
        self, app: FastAPI, live: Live, watched: Watched, offers: Followed[Offers], guard: Guard
    ) -> None:
        self._app, self._live, self._watched, self._guard = app, live, watched, guard
        self._offers = offers
        self._of: tuple[Champions, Segmenter | None, Offers | None, bool] | None = None
        self._document: dict[str, Any] = {}
        self._page: str | None = None

    def page(self) -> str:
        """The document as a page."""
        document = self.openapi()
        self._page = self._page or page(document)
        return self._page

    def openapi(self) -> dict[str, Any]:
        """The document as of now."""
        of = (
            self._live.champions(), self._watched.current(), self._offers.current(), self._guard.wants_keys,
        )  # fmt: skip
        if self._of is None or any(a is not b for a, b in zip(of, self._of, strict=True)):
            app = self._app
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = document.setdefault("components", {})
            components["schemas"] = schemas(of[0])
            show_segments(document, of[1])
            show_offers(document, of[2])
            if of[3]:
                bearer = {"type": "http", "scheme": "bearer"}
                header = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
                components["securitySchemes"] = {"bearer": bearer, "header": header}
                for path, operations in document["paths"].items():
                    if path not in ("/health", "/ready"):
                        for operation in operations.values():
                            operation["security"] = [{"bearer": []}, {"header": []}]
            self._of, self._document, self._page = of, document, None
        return self._document


def _add_documents(
    app: FastAPI, live: Live, watched: Watched, offers: Followed[Offers], guard: Guard
) -> None:
    documents = _Documents(app, live, watched, offers, guard)

    async def openapi(_request: Request) -> Response:
        return reply(documents.openapi())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(documents.page())

    app.openapi = documents.openapi  # type: ignore[method-assign]
    app.add_route("/openapi.json", openapi, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
