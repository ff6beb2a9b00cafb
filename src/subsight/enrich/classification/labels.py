"""What labels of deep packet inspection say: each combination that occurs is looked at once."""

from __future__ import annotations

from typing import Any, Final

import narwhals as nw

from subsight.enrich.classification.categories import OTHER, shipped
from subsight.store import Frame, Store

__all__ = ["LABEL", "known_labels", "small_frame"]

LABEL: Final = ("application", "application_category", "application_method")
"""The columns of a flow that its label is told by."""

_UNSTATED: Final = "unstated"


def small_frame(store: Store, rows: list[dict[str, Any]], types: dict[str, Any]) -> Frame:
    """A small table of ours as a frame of the store."""
    columns = {name: [row[name] for row in rows] for name in types}
    return store.from_arrow(nw.from_dict(columns, schema=types, backend="pyarrow").to_arrow())


def known_labels(store: Store, flows: Frame) -> Frame | None:
    """Per combination of `LABEL` that occurs, null as empty text, its service and category; None of none.

    Columns `label_service, label_category, label_application_group, label_method, label_confidence`. Of a
    label of two parts, such as `TLS.YouTube`, the second tells the service, unless the first looks names up.
    The category that the inspection gives comes before what the label's parts are known as.
    """
    if "application" not in flows.collect_schema().names():
        return None
    lowered = nw.col("application").str.to_lowercase()
    told = flows.filter(~nw.col("application").is_null())
    # Twice unique: the first on as few values as possible, the second where null and empty text were both.
    filled = told.select(*LABEL).unique().select(*(nw.col(name).fill_null("") for name in LABEL))
    combinations = store.keep(filled.unique())
    combinations = combinations.filter(~lowered.is_in(sorted({*shipped().unlabelled, ""})))
    if not store.row(combinations.select(count=nw.len()))["count"]:
        return None
    return store.keep(_with_methods(store, _with_categories(store, combinations)))


def _with_categories(store: Store, combinations: Frame) -> Frame:
    """Service and category of each combination."""
    application = nw.col("application")
    split = combinations.with_columns(
        last_part=application.str.replace_all(r"^.*\.", ""),
        first_part=application.str.replace_all(r"\..*$", ""),
        inspection_key=nw.col("application_category").str.to_lowercase(),
    ).with_columns(
        last_key=nw.col("last_part").str.to_lowercase(), first_key=nw.col("first_part").str.to_lowercase()
    )
    inspection = [{"key": key, "inspection": name} for key, name in shipped().inspection.items()]
    joined = split.join(
        small_frame(store, inspection, {"key": nw.String, "inspection": nw.String}),
        left_on="inspection_key", right_on="key", how="left",
    )  # fmt: skip
    for side in ("last", "first"):
        joined = joined.join(
            _parts(store, side), left_on=f"{side}_key", right_on=f"{side}_part_key", how="left"
        )
    is_lookup = nw.col("first_is_lookup").fill_null(False)
    # A dot inside a name of another inspection, such as example.com, parts nothing.
    is_parted = ~(nw.col("last_is_decided").is_null() & nw.col("first_is_decided").is_null())
    last = nw.coalesce(nw.col("last_service"), nw.when(is_parted).then(nw.col("last_part")), application)
    known = nw.coalesce("inspection", "last_category", "first_category", nw.lit(OTHER))
    looked_up = nw.coalesce("inspection", "first_category")
    decided = nw.when(nw.col("last_is_decided").fill_null(False)).then(nw.col("last_category"))
    return joined.select(
        *LABEL,
        label_service=nw.when(is_lookup).then(nw.coalesce("first_service", "first_part")).otherwise(last),
        label_category=nw.when(is_lookup).then(looked_up).otherwise(nw.coalesce(decided, known)),
    )


def _parts(store: Store, side: str) -> Frame:
    """The shipped labels, its columns named by the part of a label that they are joined with."""
    rows = [
        {
            f"{side}_part_key": key,
            f"{side}_service": label.service,
            f"{side}_category": label.category,
            f"{side}_is_decided": label.is_decided,
            f"{side}_is_lookup": label.is_lookup,
        }
        for key, label in shipped().labels.items()
    ]
    types = {name: nw.Boolean if "_is_" in name else nw.String for name in rows[0]}
    return small_frame(store, rows, types)


def _with_methods(store: Store, combinations: Frame) -> Frame:
    """Method, confidence and application of each combination."""
    methods = [
        {"key": key, "label_method": method, "label_confidence": confidence}
        for key, (method, confidence) in shipped().methods.items()
    ]
    groups = [
        {"group_key": category, "label_application_group": group}
        for category, group in shipped().applications.items()
    ]
    stated = nw.col("application_method").str.to_lowercase()
    keyed = combinations.with_columns(
        method_key=nw.when(stated == "").then(nw.lit(_UNSTATED)).otherwise(stated)
    )
    joined = keyed.join(
        small_frame(store, methods, dict.fromkeys(methods[0], nw.String)),
        left_on="method_key", right_on="key", how="left",
    ).join(
        small_frame(store, groups, dict.fromkeys(groups[0], nw.String)),
        left_on="label_category", right_on="group_key", how="left",
    )  # fmt: skip
    return joined.select(
        *LABEL,
        "label_service",
        "label_category",
        "label_application_group",
        label_method=nw.col("label_method").fill_null("inspection"),
        label_confidence=nw.col("label_confidence").fill_null("guess"),
    )
