"""A run's folder with answers made by hand, in every form of chart."""

from __future__ import annotations

import json
from pathlib import Path

from subsight.answers import Answer, dumps
from subsight.studies import charts

APPS = ("social_media", "google", "email", "youtube", "netflix", "gaming", "other")
EVIL = '<script>alert("x")</script> & Co'
PSEUDONYM = "0123456789abcdef" * 2


def overview() -> list[Answer]:
    handsets = [
        {"handset": name, "session_count": 20000 - 1700 * i, "subscriber_count": 9000 - 800 * i}
        for i, name in enumerate(
            ("Apple iPhone 6S (A1688)", "Huawei B528S-23A", EVIL, "Samsung Galaxy S8 (Sm-G950F)")
        )
    ]
    deciles = [
        {
            "decile": 10 - i,
            "subscriber_count": 10686,
            "total_bytes": 9e12 / (i + 1),
            "mean_total_bytes": 8.4e8 / (i + 1),
        }
        for i in range(5)
    ]
    correlation = [
        {"application": a, "other_application": b, "correlation": 1.0 if a == b else round(0.1 * (i - j), 2)}
        for i, a in enumerate(APPS)
        for j, b in enumerate(APPS)
    ]
    histogram = [
        {"variable": variable, "lower": i * 10.0, "session_count": (9 - i) ** 2 * 40}
        for variable in ("rtt_dl_ms", "rtt_ul_ms", "dl_bytes", "ul_bytes", "duration_s")
        for i in range(9)
    ]
    dispersion = [
        {
            "variable": v,
            "mean": 454500600.0 if "bytes" in v else 104.25,
            "median": 90.0,
            "standard_deviation": 12.5,
            "iqr": 20.0,
            "range": 800.0,
            "variance": 156.25,
            "coefficient_of_variation": 0.12,
            "skew": -0.3,
            "kurtosis": 2.9,
            "missing_count": 29731,
            "outlier_count": 12,
        }
        for v in ("dl_bytes", "rtt_dl_ms", "duration_s", "throughput_dl_kbps")
    ]
    return [
        Answer(
            "overview.top_handsets",
            "Which handsets are used most?",
            handsets,
            ("Apple iPhone 6S (A1688) leads with 20,000 sessions.", f"{EVIL} follows."),
            charts.bars("handset", "session_count"),
            {"top_session_count": 20000},
            "subscriber_count",
            notes=("1,066 sessions without a handset are reported apart.",),
        ),
        Answer(
            "overview.deciles",
            "How much data do the decile classes by total duration use?",
            deciles,
            ("The tenth decile uses 9.00 TB.",),
            charts.bars("decile", "total_bytes", vertical=True),
            {},
            "subscriber_count",
        ),
        Answer(
            "overview.correlation",
            "Do the applications go together?",
            correlation,
            ("They do.",),
            charts.heat("application", "other_application", "correlation", diverging=True),
        ),
        Answer(
            "overview.distributions",
            "How are the variables distributed?",
            histogram,
            ("All fall.",),
            charts.facet(charts.bars("lower", "session_count", vertical=True), "variable", free="both"),
        ),
        Answer(
            "overview.dispersion", "How are the variables dispersed?", dispersion, ("Downlink varies most.",)
        ),
    ]


def engagement() -> list[Answer]:
    top = [
        {
            "subscriber_id": f"{i:08x}{PSEUDONYM[8:]}",
            "session_count": 1066 - i,
            "total_bytes": 8.8e9 - i * 1e8,
        }
        for i in range(10)
    ]
    elbow = [
        {"k": k, "inertia": 320000 / k, "silhouette_share": None if k == 1 else 0.6 - k / 40}
        for k in range(1, 11)
    ]
    by_app = [
        {
            "application": app,
            "engagement_cluster": str(c),
            "total_bytes": (9 - i) * 10 ** (10 + c),
            "subscriber_count": 5000 if c < 2 else 900,
        }
        for i, app in enumerate(APPS)
        for c in range(3)
    ]
    daily = [
        {"local_date": f"2019-04-{d:02d}", "session_count": 1000 * d, "subscriber_count": 700 * d}
        for d in range(20, 29)
    ]
    hours = [
        {"local_hour": h, "cluster": f"cluster {c}", "session_share": (h % 12 + c) / 60}
        for h in range(24)
        for c in range(3)
    ]
    return [
        Answer(
            "engagement.top_subscribers",
            "Who are the most engaged subscribers?",
            top,
            ("The first has 1,066 sessions.",),
            ranks_subscribers=True,
        ),
        Answer(
            "engagement.elbow",
            "How many groups are there?",
            elbow,
            ("The elbow is at k = 3.",),
            charts.layers(charts.lines("k", "inertia"), {"mark": "rule", "encoding": {"x": {"datum": 3}}}),
        ),
        Answer(
            "engagement.applications",
            "Which applications do the clusters use?",
            by_app,
            ("Social media leads.",),
            charts.bars("application", "total_bytes", colour="engagement_cluster"),
            {},
            "subscriber_count",
        ),
        Answer(
            "engagement.stacked",
            "How is traffic split?",
            by_app,
            ("Evenly.",),
            charts.bars(
                "application", "total_bytes", colour="engagement_cluster", stacked=True, vertical=True
            ),
            {},
            "subscriber_count",
        ),
        Answer(
            "engagement.clusters",
            "How do the clusters differ?",
            [
                {
                    "engagement_cluster": f"cluster {c}",
                    "mean_duration_s": 60000.0 * (c + 1),
                    "mean_total_bytes": 3e8 * (c + 1),
                    "subscriber_count": 900,
                }
                for c in range(3)
            ],
            ("Cluster 2 uses most.",),
            charts.facet(charts.bars("engagement_cluster", "value", vertical=True), "statistic", free="y")
            | {
                "transform": [{"fold": ["mean_duration_s", "mean_total_bytes"], "as": ["statistic", "value"]}]
            },
            group_size="subscriber_count",
        ),
        Answer(
            "engagement.days",
            "When do sessions start?",
            daily,
            ("Most on 28 April.",),
            charts.lines("local_date", "session_count", kind="temporal"),
            {},
            "subscriber_count",
        ),
        Answer(
            "engagement.hours",
            "At which hours are the clusters active?",
            hours,
            ("No clear difference.",),
            charts.lines("local_hour", "session_share", colour="cluster", kind="ordinal"),
        ),
    ]


def experience() -> list[Answer]:
    dots = [
        {
            "rtt_ms": 20.0 + 7 * i % 190,
            "throughput_kbps": 100.0 * (i % 17) + 30,
            "experience_cluster": str(i % 3),
            "subscriber_count": 3 + i,
        }
        for i in range(60)
    ]
    small = [
        {"handset": f"Handset {i}", "tcp_retransmission_bytes": 1.5e6 * (i + 1), "subscriber_count": n}
        for i, n in enumerate((3, 4321, 250))
    ]
    return [
        Answer(
            "experience.cells",
            "How do latency and throughput go together?",
            dots,
            ("A weak negative correlation.",),
            charts.points("rtt_ms", "throughput_kbps", colour="experience_cluster", size="subscriber_count"),
            {},
            "subscriber_count",
        ),
        Answer(
            "experience.handsets",
            "Which handsets retransmit most?",
            small,
            ("Handset 1 retransmits 3.00 MB.",),
            charts.bars("handset", "tcp_retransmission_bytes"),
            {},
            "subscriber_count",
        ),
        Answer("experience.nothing", "Was packet loss recorded?", [], ("No: the input has no such column.",)),
    ]


def memo() -> list[Answer]:
    lines = [
        {
            "topic": "strength",
            "line": "Social media carries most traffic, 9.00 TB, at every hour of the day.",
            "evidence": "engagement.applications, overview.deciles",
            "value": 9e12,
            "unit": "bytes",
            "threshold": 7.5e12,
            "flips_when": "another application carries more",
        },
        {
            "topic": "technical issue",
            "line": "Half of the retransmission values are missing: the clusters rest on filled-in values.",
            "evidence": "experience.handsets",
            "value": 0.5,
            "unit": "share",
            "threshold": 0.1,
            "flips_when": "fewer are missing",
        },
    ]
    return [
        Answer(
            "memo.recommendation",
            "Is the operator worth buying?",
            lines,
            (
                "On these data: no clear case, see engagement.elbow.",
                "The file holds three days rather than a month.",
            ),
        ),
    ]


QUALITY = {
    "records": 150001,
    "accepted": 150000,
    "rejected": 1,
    "without_subscriber_count": 1066,
    "findings": [
        {
            "column": "duration_s",
            "check": "unit",
            "severity": "corrected",
            "count": 150000,
            "text": "Dur. (ms) is in seconds: it equals End - Start in 99.9 % of records.",
        }
    ],
    "rejects": [{"reason": "no start", "column": "start_at", "count": 1}],
    "coverage": [
        {"local_date": f"2019-04-{d:02d}", "session_count": n, "subscriber_count": n // 2}
        for d, n in ((4, 6), (22, 900), (23, 9000), (24, 45000), (25, 50000), (26, 45094))
    ],
    "periods": {
        "first": ["2019-04-04", "2019-04-23"],
        "second": ["2019-04-24", "2019-04-26"],
        "first_subscriber_count": 4000,
        "second_subscriber_count": 99000,
        "both_subscriber_count": 1200,
        "comparable": False,
    },
}

MODEL = {
    "name": "engagement",
    "features": ["session_count", "duration_s", "total_bytes"],
    "parameters": {
        "mean": [1.4, 1e5, 4e8],
        "deviation": [0.8, 52.0, 9e8],
        "centroids": [[-0.5, -0.4, -0.4], [0.2, 0.1, 0.3], [3.1, 2.9, 3.3]],
    },
    "fit": {"rows": 106856, "sampled": False, "inertia": 87654.3, "seconds": 1.2},
    "card": {
        "purpose": "Groups subscribers by how much they use the network.",
        "limits": ["one file", "three days"],
    },
}


def fake_run(folder: Path, studies: dict[str, list[Answer]] | None = None) -> Path:
    """A run's folder as a run publishes it, with answers made by hand."""
    made = studies or {
        "overview": overview(),
        "engagement": engagement(),
        "experience": experience(),
        "memo": memo(),
    }
    for name in ("answers", "tables", "models"):
        (folder / name).mkdir(parents=True)
    manifest = {
        "run": "20260101T120000Z-abc123",
        "created_at": "2026-01-01T12:00:00+00:00",
        "versions": {"subsight": "0.1.0", "duckdb": "2.0.0"},
        "settings": {"minimum_group": 15, "treatment": "mean", "time_zone": "UTC"},
        "inputs": [
            {
                "name": "telcom.csv",
                "content": "0a1b2c3d4e5f6071",
                "records": 150001,
                "accepted": 150000,
                "rejected": 1,
            }
        ],
        "tables": {"profiles": {"rows": 106856, "file": "profiles.parquet"}},
        "studies": {
            name: {
                "answers": len(answers),
                "stale": name == "experience",
                "from_run": "20251231T120000Z-def456" if name == "experience" else None,
            }
            for name, answers in made.items()
        },
        "timings": {},
        "engine": "duckdb",
        "identifiers": "pseudonymous",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "quality.json").write_text(json.dumps(QUALITY))
    (folder / "models" / "engagement.json").write_text(json.dumps(MODEL))
    for name, answers in made.items():
        (folder / "answers" / f"{name}.json").write_text(dumps(answers))
    return folder
