"""What follows from segments: words that turn with the facts, intervals by hand, and who moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from test_segments_study import answers, line, person, record

from subsight.results import respectful
from subsight.store import Store, open_store
from subsight.studies.segments.decisions import treatment, wilson


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with open_store("duckdb", memory="500MB") as opened:
        yield opened


def _two(first: tuple[float, float], second: tuple[float, float], **more: Any) -> list[dict[str, Any]]:
    """Fifty of each segment, by tenure and volume, that vary a little around it."""
    return [
        person(segment, tenure + i % 5, volume + 1e3 * (i % 5), **{k: v[segment][i] for k, v in more.items()})
        for segment, (tenure, volume) in enumerate((first, second))
        for i in range(50)
    ]


def test_the_reading_turns_when_the_facts_turn(store: Store) -> None:
    told = answers(store, _two((2000, 9e6), (100, 1e6)))["reading"]
    assert "higher downlink volume and tenure" in line(told, "Platinum")
    assert "Suggested: reward loyalty" in line(told, "Platinum")
    assert "Suggested: accompany the start: set-up help" in line(told, "Gold")
    turned = answers(store, _two((100, 1e6), (2000, 9e6)))["reading"]
    assert "Suggested: accompany the start: set-up help" in line(turned, "Platinum")
    assert "Suggested: reward loyalty" in line(turned, "Gold")
    crossed = answers(store, _two((2000, 1e6), (100, 9e6)))["reading"]
    assert "Suggested: show what the plan already holds" in line(crossed, "Platinum")
    assert "Suggested: bind early" in line(crossed, "Gold")
    same = answers(store, _two((500, 5e6), (500, 5e6)))["reading"]
    for name in ("Platinum", "Gold"):
        assert "no clear difference in anything compared" in line(same, name)
        assert "none follows from tenure and use" in line(same, name)


def test_the_strongest_differences_are_told_first_and_few(store: Store) -> None:
    # A category is told by its levels.
    plans = {"plan": (["Max"] * 45 + ["Basic"] * 5, ["Basic"] * 45 + ["Max"] * 5)}
    told = answers(store, _two((2000, 9e6), (1900, 1e6), **plans))["reading"]
    assert told.rows[0]["against_the_rest"].startswith("higher ")
    assert "plan Max" in told.rows[0]["against_the_rest"]
    assert "lower plan Basic" in told.rows[0]["against_the_rest"]
    assert "uplink volume" not in told.rows[0]["against_the_rest"]  # nobody has any


def test_who_leaves_is_kept_before_anything_is_sold(store: Store) -> None:
    left = {"is_churned": ([True] * 40 + [False] * 10, [False] * 45 + [True] * 5)}
    told = answers(store, _two((2000, 9e6), (100, 1e6), **left))["reading"]
    assert "Suggested: retain first" in line(told, "Platinum")
    assert "then reward loyalty" in line(told, "Platinum")
    assert "retain first" not in line(told, "Gold")
    assert "retain first" not in treatment("lower", "lower", "lower")


def test_a_small_segment_is_not_described(store: Store) -> None:
    people = [*_two((2000, 9e6), (100, 1e6)), *(person(2, 9000.0, 9e7) for _ in range(5))]
    three = record(names=["Platinum", "Gold", "Silver"], fit={"order_values": [2, 1, 0]})
    told = answers(store, people, three, minimum_group=15)["reading"]
    assert not any(text.startswith("Silver") for text in told.reading)
    assert told.rows[2]["suggested_treatment"] == "too few subscribers"


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    [
        (81 / 263, 263, 0.2553, 0.3662), (15 / 148, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)  # fmt: skip
def test_wilson_as_published(share: float, count: int, low: float, high: float) -> None:
    assert wilson(share, count) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("count", [*range(15, 400), 3718, 106_856])
def test_none_and_all_end_their_own_intervals(count: int) -> None:
    assert wilson(0.0, count)[0] == 0.0
    assert wilson(1.0, count)[1] == 1.0


def test_retention_says_whether_intervals_are_apart(store: Store) -> None:
    apart = {"is_churned": ([True] * 40 + [False] * 10, [True] * 5 + [False] * 45)}
    told = answers(store, _two((2000, 9e6), (100, 1e6), **apart))["retention"]
    assert [row["churned_share"] for row in told.rows] == [0.8, 0.1]
    # By hand, n = 50, p = 0.1: (0.1 + 0.038415 -+ 1.95996 sqrt(0.0018 + 0.00038415)) / 1.076829.
    assert told.rows[1]["churned_low_share"] == pytest.approx(0.0435, abs=1e-4)
    assert told.rows[1]["churned_high_share"] == pytest.approx(0.2136, abs=1e-4)
    assert told.reading[0].startswith("Of Platinum, 80.0 %")
    close = {"is_churned": ([True] * 10 + [False] * 40, [True] * 12 + [False] * 38)}
    told = answers(store, _two((2000, 9e6), (100, 1e6), **close))["retention"]
    assert told.reading == (
        "There is no clear difference between segments in how many have left: the intervals overlap.",
    )


def test_retention_by_satisfaction_and_by_nothing(store: Store) -> None:
    unhappy = {"satisfaction_cluster": ([1] * 45 + [0] * 5, [0] * 40 + [1] * 10)}
    told = answers(store, _two((2000, 9e6), (100, 1e6), **unhappy))["retention"]
    assert [row["less_satisfied_share"] for row in told.rows] == [0.1, 0.8]
    assert told.reading[0].startswith("Of Gold, 80.0 %")
    assert answers(store, _two((2000, 9e6), (100, 1e6)))["retention"].reading == (
        "Neither a churn flag nor satisfaction is known of anybody here.",
    )
    none_known = {"is_churned": ([None] * 50, [None] * 50)}
    assert answers(store, _two((2000, 9e6), (100, 1e6), **none_known))["retention"].rows == []


def test_few_who_left_are_not_told(store: Store) -> None:
    few = {"is_churned": ([True] * 3 + [False] * 47, [True] * 20 + [False] * 30)}
    told = answers(store, _two((2000, 9e6), (100, 1e6), **few), minimum_group=15)["retention"]
    assert (told.rows[0]["churned_share"], told.rows[0]["churned_high_share"]) == (None, None)
    assert told.rows[1]["churned_share"] == 0.4


@pytest.mark.parametrize(
    ("mean", "words"),
    [(0.97, "nearly the same segments"), (0.8, "much the same segments"), (0.4, "other segments")],
)
def test_the_choice_says_how_stable_it_is(store: Store, mean: float, words: str) -> None:
    stability = {"mean": mean, "low": mean - 0.1, "high": mean + 0.02, "resamples": 20, "rows": 40}
    told = answers(store, _two((9, 9), (1, 1)), record(fit={"stability": stability}))["choice"]
    assert any(f"k-means finds {words}" in text for text in told.reading)
    assert any("act on them with care" in text for text in told.reading) is (mean == 0.4)
    assert [row["is_used"] for row in told.rows] == [False, True, False]
    assert told.rows[1]["inertia_left_share"] == 0.2


def test_who_moved(store: Store) -> None:
    before = {"previous_segment_name": (["Platinum"] * 30 + ["Gold"] * 20, ["Gold"] * 45 + [None] * 5)}
    told = answers(store, _two((9, 9), (1, 1), **before), previous=["Platinum", "Gold"])["migration"]
    moves = {(row["previous_segment_name"], row["segment_name"]): row for row in told.rows}
    assert {way: row["subscriber_count"] for way, row in moves.items()} == {
        ("Platinum", "Platinum"): 30, ("Gold", "Platinum"): 20, ("Gold", "Gold"): 45,
    }  # fmt: skip
    assert moves["Gold", "Platinum"]["previous_share"] == pytest.approx(20 / 65)
    # 75 of the 95 who had a segment before are where they were.
    assert "Of 95 subscribers with a segment before, 78.9 %" in told.reading[0]
    assert "from Gold to Platinum: 20 subscribers, 30.8 % of Gold" in told.reading[1]
    assert answers(store, _two((9, 9), (1, 1)))["migration"].rows == []


def test_the_flows_are_drawn_as_wide_as_they_are(store: Store) -> None:
    import vl_convert

    from subsight.surfaces.report.rendering import spec

    before = {"previous_segment_name": (["Platinum"] * 30 + ["Gold"] * 20, ["Gold"] * 50)}
    told = answers(store, _two((9, 9), (1, 1), **before), previous=["Platinum", "Gold"])["migration"]
    drawn = spec(respectful(told, 15))
    assert drawn is not None
    svg = vl_convert.vegalite_to_svg(drawn, allowed_base_urls=[])
    bands = re.findall(r'<g class="mark-area[^>]*>\s*<path[^>]* d="M([-0-9.]+),([-0-9.]+)[^"]*?Z"', svg)
    assert len(bands) == 3
    # 30 of 100 were Platinum and 50 are.
    said = re.findall(r">(\w+ \d+\s%)<", svg)
    assert [" ".join(words.split()) for words in said] == [
        "Platinum 30 %", "Gold 70 %", "Platinum 50 %", "Gold 50 %",
    ]  # fmt: skip
    bars = "".join(re.findall(r'<g class="mark-rect.*?</g>', svg))
    heights = [float(height) for height in re.findall(r"v([\d.]+)h", bars)]
    assert [height / sum(heights[:2]) for height in heights] == pytest.approx([0.3, 0.7, 0.5, 0.5])
    # Of two by two ways, one that is too small takes the others with it: totals would tell it.
    few = {"previous_segment_name": (["Platinum"] * 30 + ["Gold"] * 20, ["Gold"] * 47 + ["Platinum"] * 3)}
    told = answers(store, _two((9, 9), (1, 1), **few), previous=["Platinum", "Gold"])["migration"]
    assert [row["subscriber_count"] for row in respectful(told, 15).rows] == [None] * 4


def test_who_lost_a_segment_and_few_who_moved(store: Store) -> None:
    before = {"previous_segment_name": (["Platinum"] * 50, ["Gold"] * 47 + ["Platinum"] * 3)}
    people = _two((9, 9), (1, 1), **before)
    lost = [person(None, None, 1.0, previous_segment_name="Gold") for _ in range(30)]
    told = answers(store, people + lost, previous=["Platinum", "Gold"], minimum_group=15)["migration"]
    (row,) = (row for row in told.rows if row["segment_name"] == "no segment")
    assert (row["subscriber_count"], row["segment_rank"]) == (30, 3)
    assert row["previous_share"] == pytest.approx(30 / 77)
    # 33 of 130 are elsewhere.
    assert told.reading[0].startswith("Of 130 subscribers with a segment before, 74.6 %")
    # Without them 3 are: that may not be told, nor a share that it could be reckoned from.
    told = answers(store, people, previous=["Platinum", "Gold"], minimum_group=15)["migration"]
    assert told.reading == ("Of 100 subscribers with a segment before, too few moved to say how many.",)
    assert any("not matched" in note for note in told.notes)


def test_intervals_are_drawn_of_churn_and_of_satisfaction(store: Store) -> None:
    import vl_convert

    from subsight.surfaces.report.rendering import spec

    both = {"is_churned": ([True] * 40 + [False] * 10, [True] * 5 + [False] * 45),
            "satisfaction_cluster": ([1] * 45 + [0] * 5, [0] * 40 + [1] * 10)}  # fmt: skip
    people = _two((9, 9), (1, 1), **both)
    drawn = spec(answers(store, people)["retention"])
    assert drawn is not None
    svg = vl_convert.vegalite_to_svg(drawn, allowed_base_urls=[])
    assert [svg.count(f">{word} share<") for word in ("churned", "less satisfied")] == [1, 1]
    # A line over the interval of each segment, as long as it is: 0.8 of 50 and 0.1 of 50.
    lines = re.findall(
        r'<line transform="translate\(([\d.]+),[\d.]+\)" x2="([-\d.]+)" y2="0"[^>]*stroke-width="3"', svg
    )
    lengths = [abs(float(length)) for _, length in lines]
    wide, narrow = (wilson(share, 50)[1] - wilson(share, 50)[0] for share in (0.8, 0.1))
    assert len(lengths) == 4
    assert lengths[0] / lengths[1] == pytest.approx(wide / narrow, rel=0.01)
    # Where all of it is too small to tell there is nothing to draw.
    assert answers(store, people, minimum_group=60)["retention"].chart is None


@pytest.mark.spark
def test_each_engine_tells_the_same(store: Store, spark_store: Store) -> None:
    more = {
        "is_churned": ([True] * 40 + [None] * 10, [False] * 45 + [True] * 5),
        "satisfaction_cluster": ([1] * 45 + [0] * 5, [0] * 40 + [None] * 10),
        "previous_segment_name": (["Platinum"] * 30 + ["Gold"] * 20, ["Gold"] * 45 + [None] * 5),
        "region": (["1"] * 20 + ["2.5"] * 30, ["3"] * 50),
        "plan": (["A"] * 30 + ["B"] * 20, ["B"] * 40 + [None] * 10),
    }
    people = _two((2000, 9e6), (100, 1e6), **more)
    people += [person(None, 5.0, 1.0, region="Lagos", previous_segment_name="Gold") for _ in range(20)]
    fitted = record([{"name": "region", "kind": "number"}], region="numeric", fit={"descriptors": ["plan"]})
    here, there = (answers(engine, people, fitted, ["Platinum", "Gold"]) for engine in (store, spark_store))
    for name, told in here.items():
        assert there[name].reading == told.reading
        for one, other in zip(there[name].rows, told.rows, strict=True):
            close = {
                k: pytest.approx(v, rel=1e-9, abs=1e-12) if isinstance(v, float) else v
                for k, v in other.items()
            }
            assert one == close, name
