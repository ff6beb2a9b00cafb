"""What pages are made with: templates that share the report's, and static files named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from starlette.responses import Response

__all__ = ["POLICY", "asset", "environment", "static"]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_KINDS: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@cache
def static() -> Mapping[str, tuple[bytes, str]]:
    """Every static file by its name with the hash of its content: bytes and media type."""
    report = files("subsight.surfaces.report").joinpath("templates", "style.css")
    own = files(__package__).joinpath("static")
    sources = {
        # The report's look, then what the dashboard adds to it.
        "dashboard.css": report.read_bytes() + own.joinpath("dashboard.css").read_bytes(),
        "dashboard.js": own.joinpath("dashboard.js").read_bytes(),
        "icon.svg": own.joinpath("icon.svg").read_bytes(),
    }
    named = {}
    for name, content in sources.items():
        stem, _, kind = name.partition(".")
        digest = hashlib.sha256(content).hexdigest()[:12]
        named[f"{stem}-{digest}.{kind}"] = content, _KINDS[kind]
    return named


def asset(name: str) -> str:
    """The address of a static file."""
    stem, _, kind = name.partition(".")
    return next(f"/static/{one}" for one in static() if one.startswith(f"{stem}-") and one.endswith(kind))


def file(name: str) -> Response | None:
    """A static file, kept by browsers: another content has another name."""
    found = static().get(name)
    if found is None:
        return None
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(found[0], media_type=found[1], headers=headers)


@cache
def environment() -> Any:
    """The templates' environment, with the report's filters and parts."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, pass_context

    from subsight.surfaces.report.page import extend
    from subsight.surfaces.report.tables import link, note

    @pass_context
    def linked(page: Any, text: str) -> Any:
        return link(text, page.get("known", {}))

    @pass_context
    def noted(page: Any, text: str, answer: Any) -> Any:
        return note(text, page.get("known", {}), answer.columns)

    made = Environment(
        loader=ChoiceLoader([PackageLoader(__package__), PackageLoader("subsight.surfaces.report")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    extend(made, frozenset())
    made.filters |= {"link": linked, "note": noted}
    made.globals |= {"asset": asset, "open_rows": 12, "long": 90}
    return made
