"""The report as PDF: the same page, printed by its print style with numbers on its pages."""

from __future__ import annotations

import importlib
import re
from typing import Any, Final, NoReturn

from subsight.errors import ConfigurationError
from subsight.surfaces.report.rendering import resolved

__all__ = ["printed", "required", "stepped"]

_SVG: Final = re.compile(r"<svg .*?</svg>", re.DOTALL)
_SCALE: Final = re.compile(r'<path d="M0,0h([\d.]+)v([\d.]+)h-[\d.]+Z" fill="url\(#([^)]+)\)"[^>]*/>')
_STOPS: Final = r'<linearGradient id="{}"[^>]*>(.*?)</linearGradient>'
_STOP: Final = re.compile(r'offset="([\d.]+)" stop-color="([^"]+)"')
_STYLE: Final = "pdf.css"
_FONT: Final = 'font-family="Arial, Liberation Sans, sans-serif"'


def required() -> Any:
    """The library that prints.

    Raises:
        ConfigurationError: it, or what it needs of the system, is not installed; says how to install it.
    """
    try:
        return importlib.import_module("weasyprint")
    except ModuleNotFoundError as error:
        found, do = f"no module {error.name}", "pip install 'subsight[pdf]'"
    except OSError as error:  # it looks for the system's libraries when it is imported
        found = str(error).splitlines()[0]
        do = "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
    raise ConfigurationError(
        "a report as PDF needs the extra `pdf` and Pango",
        found=found,
        expected="WeasyPrint, and of Debian libpango-1.0-0, libpangoft2-1.0-0 and libharfbuzz-subset0",
        do=f"{do}, or print the HTML report from a browser",
    )


def printed(html: str) -> bytes:
    """A report's page as PDF; what it prints is in the page, and nothing is fetched.

    Raises:
        ConfigurationError: see `required`.
    """
    from importlib.resources import files

    weasyprint = required()
    style = files(__package__).joinpath("templates", _STYLE).read_text(encoding="utf-8")
    # A drawing knows neither variables nor the page's font here.
    page = _SVG.sub(lambda match: stepped(resolved(match[0])).replace("<svg ", f"<svg {_FONT} ", 1), html)
    # Behind the page's own style, which it changes.
    page = page.replace("</head>", f"<style>{style}</style></head>", 1)
    pdf: bytes = weasyprint.HTML(string=page, url_fetcher=_refuse).write_pdf()
    return pdf


def stepped(svg: str) -> str:
    """A drawing whose scales of colour are steps: this printer leaves gradients in moved groups out."""

    def steps(match: re.Match[str]) -> str:
        width, height, id = float(match[1]), match[2], match[3]
        found = re.search(_STOPS.format(re.escape(id)), svg, re.DOTALL)
        stops = [(float(at), colour) for at, colour in _STOP.findall(found[1] if found else "")]
        ends = [*(at for at, _ in stops[1:]), 1.0]
        return "".join(
            f'<rect x="{at * width:g}" y="0" width="{(end - at) * width:g}" height="{height}" fill="{fill}"/>'
            for (at, fill), end in zip(stops, ends, strict=True)
        )

    return _SCALE.sub(steps, svg)


def _refuse(url: str, *_: Any, **__: Any) -> NoReturn:
    raise ValueError(f"a report needs no other file, and {url} is not fetched")
