"""Agreement of ports and rules with deep packet inspection, on flows whose labels are hidden from them.

    uv run python benchmarks/classification_agreement.py ../shared/data/flows/labelled_flows.csv

Prints the figures of docs/classification.md, which a test compares with what this computes.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PROTOCOLS = {"ICMP": 1, "IGMP": 2, "TCP": 6, "UDP": 17, "ESP": 50, "AH": 51, "ICMPV6": 58, "OSPF": 89,
             "VRRP": 112, "PGM": 113, "SCTP": 132}  # fmt: skip


def flows(path: Path) -> list[dict[str, Any]]:
    """The labelled flows in canonical columns; of no reply 0 bytes, since the probe tells both directions.

    Addresses are left out: without rules of hosts nothing asks for them (and some are no addresses).
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {
                "src_port": int(row["src_port"]),
                "dst_port": int(row["dst_port"]),
                "protocol": PROTOCOLS[row["l4"]] if row["l4"] in PROTOCOLS else int(row["l4"]),
                "src_to_dst_bytes": int(row["c2s_bytes"]),
                "dst_to_src_bytes": int(row["s2c_bytes"]),
                "application": row["ndpi_label"] or None,
                "application_category": row["ndpi_category"] or None,
                "application_method": row["confidence"] or None,
            }
            for row in csv.DictReader(file)
        ]


def report(path: Path) -> str:
    """The figures as Markdown."""
    import pyarrow as pa

    from subsight.enrich.classification import tables
    from subsight.enrich.classification.agreement import agreement
    from subsight.store import open_store

    with open_store("duckdb", memory="1GB") as store:
        found = agreement(store, store.from_arrow(pa.Table.from_pylist(flows(path))), tables())
    lines = ["| counted in | ports | compared | coverage | agree where covered | agree of all | kappa |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for measure, unit in (("flow_count", "flows"), ("total_bytes", "bytes")):
        for without, name in ((False, "all"), (True, "without guesses")):
            figures = found.figures(measure, without_guesses=without)
            shown = ["none" if value is None else f"{value:.3f}" for value in figures.values()]
            lines.append(f"| {unit} | {name} | {found.total(measure):,} | {' | '.join(shown)} |")
    lines += ["", "| inspection says | flows | ports say (flows) | agree |", "|---|---|---|---|"]
    rows: dict[str, Counter[str]] = {}
    for (truth, told), count in found.confusion().items():
        rows.setdefault(truth, Counter())[told] += count
    for truth, told in sorted(rows.items(), key=lambda item: (-item[1].total(), item[0])):
        said = ", ".join(
            f"{name} {count:,}" for name, count in sorted(told.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        lines.append(f"| {truth} | {told.total():,} | {said} | {told[truth] / told.total():.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(report(Path(sys.argv[1])), end="")
