"""What a fit is looked at by: its plots as SVG, and a sample of what it made of subscribers as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SAMPLE", "Draw", "draw", "files", "sample"]

SAMPLE: Final = 20
"""Subscribers in a sample; nobody is named in it."""

Draw = Callable[[str], str]
"""A Vega-Lite spec as JSON in, an SVG out."""


def sample(
    features: Sequence[str], values: NDArray[Any], **made: Sequence[Any] | NDArray[Any]
) -> list[dict[str, Any]]:
    """The first rows of a fit by name: its features, then what the model made of them."""
    columns = {name: values[:SAMPLE, i].tolist() for i, name in enumerate(features)}
    columns |= {name: [_plain(value) for value in column[:SAMPLE]] for name, column in made.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def files(record: Mapping[str, Any], draw: Draw) -> dict[str, str]:
    """A fit record's artifacts by file name: its card, its plots and its sample, as far as it has them."""
    found = {"card.json": json.dumps(record.get("card", {}), indent=1, ensure_ascii=False)}
    if rows := record.get("sample"):
        found["predictions.csv"] = _csv(rows)
    for name, rows, encoding in _plots(record.get("fit", {})):
        found[f"{name}.svg"] = draw(_spec(rows, encoding))
    return found


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(spec: str) -> str:
    """A plot drawn in this process; the first takes half a second."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))


def _plots(fit: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    if steps := fit.get("convergence"):
        # k-means tells its inertia, a map its quantisation error, what learns by steps its loss.
        measure = next((name for name in ("inertia", "quantisation_error") if name in fit), "loss")
        rows = [{"step": i, measure: value} for i, value in enumerate(steps)]
        yield "convergence", rows, {"x": _axis("step"), "y": _axis(measure)}
    if elbow := fit.get("elbow"):
        rows = [{"k": k, "inertia": v} for k, v in zip(elbow["k"], elbow["inertia"], strict=True)]
        yield "elbow", rows, {"x": _axis("k"), "y": _axis("inertia")}
    if shares := fit.get("explained_share"):
        rows = [{"component": i, "share": value} for i, value in enumerate(shares, 1)]
        yield "explained", rows, {"x": _axis("component"), "y": _axis("share", "share of the variance")}
    if deciles := fit.get("residual_deciles"):
        rows = [{"decile": i, "residual": value} for i, value in enumerate(deciles)]
        across = _axis("decile", "decile of the held-out residuals")
        yield "residuals", rows, {"x": across, "y": _axis("residual", "residual, in units of the prediction")}
    if tenths := fit.get("calibration"):
        # A calibrated model's sides agree.
        sides = ("predicted", "observed")
        rows = [
            {"tenth": i, "mean": row[side], "side": side} for i, row in enumerate(tenths, 1) for side in sides
        ]
        encoding = {
            "x": _axis("tenth", "tenth of held-out answers, by prediction"),
            "y": _axis("mean", "mean answer, share of its scale"),
            "color": {"field": "side", "type": "nominal", "title": None},
        }
        yield "calibration", rows, encoding


def _axis(field: str, title: str | None = None) -> dict[str, Any]:
    return {
        "field": field,
        "type": "quantitative",
        "title": title or field.replace("_", " "),
        "scale": {"zero": False},
    }


def _spec(rows: list[dict[str, Any]], encoding: Mapping[str, Any]) -> str:
    spec = {"data": {"values": rows}, "mark": {"type": "line", "point": True}, "encoding": encoding}
    return json.dumps({**spec, "width": 420, "height": 260})
