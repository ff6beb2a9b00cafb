"""Tables in a narrow terminal: no number and no name is cut in two."""

from __future__ import annotations

import re

import pytest

from subsight.answers import Answer
from subsight.surfaces import tables


@pytest.mark.parametrize("width", [40, 60, 75, 100, 140])
def test_columns_beyond_the_width_follow_below_with_their_first_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    rows = [
        {"cluster": i, **{f"mean_{name}_bytes": 1234567.0 * (i + 1) for name in ("dl", "ul", "app_web_dl")},
         "duration_s": 7200.0, "subscriber_count": 98_970, "evidence": "satisfaction.service_levels",
         "description": "higher retransmission and round-trip time; lower throughput", "mean_rtt_ms": 314.0}
        for i in range(2)
    ]  # fmt: skip
    tables.print_answer(
        Answer("a.b", "What?", rows, ("One. " * 20,), notes=("duration_s: in hours",)), limit=12
    )
    lines = [line.rstrip() for line in re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]
    assert max(map(len, lines)) <= width
    said = " ".join(lines)
    for whole in ("1.23 MB", "2.47 MB", "2.0 h", "98,970", "314 ms", "satisfaction.service_levels"):
        assert whole in said
    parts = sum(line.split()[:1] == ["cluster"] for line in lines)  # the first column heads each
    assert (parts == 1) == (width == 140)  # all columns and their gaps need 127
    assert all(line.startswith("  ") for line in lines if "One." in line)
    assert "note: duration: in hours" in said
