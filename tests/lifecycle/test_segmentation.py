"""The segmentation that answers: read whole or not at all, taken up in service, equal to sums by hand."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmented import (
    CENTROIDS,
    DEVIATION,
    INPUTS,
    MEAN,
    NAMES,
    ONE_HOT,
    PSEUDONYMS,
    PUBLISHED,
    RECORD,
    SEGMENTS,
    published,
)

from subsight.errors import NotFoundError, WorkspaceError
from subsight.lifecycle import bundle, segmentation
from subsight.lifecycle.segmentation import Segmenter, UnplacedError, Watched
from subsight.models.segments import fit, place
from subsight.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "operator")


def of(record: Any) -> Segmenter:
    return Segmenter.read(json.dumps(record).encode(), "a run", "a file")


def columns(rows: Any) -> dict[str, Any]:
    return dict(zip(INPUTS, np.array(rows).T, strict=True))


def test_the_published_rows_are_placed() -> None:
    segmenter = of(RECORD)
    assert segmenter.many(columns(PUBLISHED), 5, standardised=True).tolist() == SEGMENTS
    raw = [[x * d + m for x, m, d in zip(row, MEAN, DEVIATION, strict=True)] for row in PUBLISHED]
    assert segmenter.many(columns(raw), 5, standardised=False).tolist() == SEGMENTS
    row = dict(zip(INPUTS, PUBLISHED[3], strict=True))
    assert segmenter.one(row, standardised=True) == (0, "Platinum")


def test_a_batch_equals_sums_written_out() -> None:
    random = np.random.default_rng(3)
    rows = random.normal(MEAN, DEVIATION, (500, 4))

    def nearest(row: Any) -> int:
        z = [(x - m) / d for x, m, d in zip(row, MEAN, DEVIATION, strict=True)]
        away = [math.fsum((a - b) ** 2 for a, b in zip(z, c, strict=True)) for c in CENTROIDS]
        return away.index(min(away))

    found = of(RECORD).many(columns(rows), 500, standardised=False).tolist()
    assert found == [nearest(row) for row in rows.tolist()]
    assert len(set(found)) == 4


@pytest.mark.parametrize("region", ["one-hot", "numeric"])
def test_the_service_says_what_the_batch_says(region: Any) -> None:
    random = np.random.default_rng(11)
    home = random.integers(0, 4, 2000)
    tenure = random.gamma(2, 400, 2000) + 900 * (home == 1)
    # Of some regions hardly anybody is, so that they have no column.
    regions = np.where(random.random(2000) < 0.03, random.integers(5, 60, 2000), home)
    batch: dict[str, Any] = {
        "region": list(map(str, regions)),
        "tenure_days": np.where(random.random(2000) < 0.01, np.nan, tenure),
        "dl_kilobytes": random.lognormal(12 + home, 0.4),
    }
    record = fit(batch, region=region, k=4, seed=1, starts=2)
    segmenter = of(record)
    expected = place(record, batch)[0]
    assert set(expected.tolist()) == {-1, 0, 1, 2, 3}
    is_number = region == "numeric"
    sent = batch | ({"region": regions.astype(float)} if is_number else {})
    assert segmenter.many(sent, 2000, standardised=False).tolist() == expected.tolist()

    def scale(name: str) -> tuple[float, float]:
        if name == "region" and not is_number:
            return record["inputs"][0]["numeric"]["mean"], record["inputs"][0]["numeric"]["deviation"]
        place = record["features"].index(name)
        return record["parameters"]["mean"][place], record["parameters"]["deviation"][place]

    # The same by z-scores; a region without a column cannot be told by one.
    known = [is_number or level in record["inputs"][0]["levels"] for level in batch["region"]]
    raw = batch | {"region": regions}
    z = {name: (raw[name][known] - scale(name)[0]) / scale(name)[1] for name in raw}
    assert segmenter.many(z, sum(known), standardised=True).tolist() == expected[known].tolist()


def test_ties_go_to_the_lower_number_and_the_lacking_to_none() -> None:
    record = copy.deepcopy(RECORD)
    record["parameters"]["centroids"] = [[0.0] * 4, [1.0, 0, 0, 0], [-1.0, 0, 0, 0], [5.0] * 4]
    found = of(record).many(
        columns([[0.5, 0, 0, 0], [-0.5, 0, 0, 0], [0, math.nan, 0, 0]]), 3, standardised=True
    )
    assert found.tolist() == [0, 0, -1]
    with pytest.raises(UnplacedError, match="tenure_days"):
        of(record).one(dict.fromkeys(INPUTS, 1.0) | {"tenure_days": None}, standardised=True)


def test_a_region_is_a_level_raw_and_is_turned_back_where_it_is_standardised() -> None:
    segmenter = of(ONE_HOT)
    # Region 3 is (0 - .25) / .5, (0 - .5) / .5, (1 - .25) / .5: exactly the first centroid.
    raw = {"region": ["3", "1", "2", None], "tenure_days": [1500.0, 1500.0, 3500.0, 1.0]}
    assert segmenter.many(raw, 4, standardised=False).tolist() == [0, 1, 2, -1]
    # (3 - 2) / 0.5 = 2; a quarter of the gap between levels is 0.5 z units.
    z = {"region": [2.0, -1.5, 0.4, math.nan], "tenure_days": [0.0, 0.0, 2.0, 1.0]}
    assert segmenter.many(z, 4, standardised=True).tolist() == [0, 1, 2, -1]
    with pytest.raises(UnplacedError) as refused:
        segmenter.many({"region": [2.0, 1.0], "tenure_days": [0.0, 0.0]}, 2, standardised=True)
    assert (refused.value.field, refused.value.row) == ("region", 2)
    with pytest.raises(UnplacedError):
        segmenter.many({"region": ["4"], "tenure_days": [0.0]}, 1, standardised=False)


def test_of_more_than_twenty_levels_the_rarer_are_none_of_them() -> None:
    record = copy.deepcopy(ONE_HOT)
    levels = [str(i) for i in range(20)]
    record["inputs"][0] |= {"levels": levels}
    record["features"] = [*(f"region={level}" for level in levels), "tenure_days"]
    zero, one = [0.0] * 20, [0.0] * 19 + [1.0]
    record["parameters"] = {
        "mean": [*zero, 0.0], "deviation": [1.0] * 21, "centroids": [[*one, 0.0], [*zero, 0.0]],
    }  # fmt: skip
    record["names"] = NAMES[:2]
    found = of(record).many({"region": ["19", "77"], "tenure_days": [0.0, 0.0]}, 2, standardised=False)
    assert found.tolist() == [0, 1]


def test_values_without_a_finite_distance_have_no_segment() -> None:
    record = copy.deepcopy(RECORD)
    record["parameters"]["deviation"] = [1e-200] * 4
    with pytest.raises(UnplacedError, match="row 2"):
        of(record).many(columns([MEAN, [1e18] * 4]), 2, standardised=False)


def broken(change: Any) -> bytes:
    record = copy.deepcopy(RECORD)
    change(record)
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(RECORD),
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps({"name": "engagement", "features": []}).encode(),
        broken(lambda r: r.update(name="engagement")),
        broken(lambda r: r.pop("inputs")),
        broken(lambda r: r["features"].reverse()),
        broken(lambda r: r["features"].append("another")),
        broken(lambda r: r["names"].pop()),
        broken(lambda r: r.update(names=["Gold"] * 4)),
        broken(lambda r: r["parameters"]["mean"].pop()),
        broken(lambda r: r["parameters"].update(deviation=[1.0, 1.0, 0.0, 1.0])),
        broken(lambda r: r["parameters"].update(mean=[math.nan] * 4)),
        broken(lambda r: r["parameters"].update(mean=["1"] * 4)),
        broken(lambda r: r["parameters"]["centroids"][2].pop()),
        broken(lambda r: (r["parameters"].update(centroids=CENTROIDS[:1]), r.update(names=NAMES[:1]))),
        broken(lambda r: r["inputs"][0].update(kind="text")),
        broken(lambda r: r["inputs"][0].update(kind="image")),
        broken(lambda r: r.update(region="half")),
    ],
)
def test_what_is_no_segmentation_is_refused_whole(content: bytes, workspace: Workspace) -> None:
    (published(workspace) / "models" / "segments.json").write_bytes(content)
    with pytest.raises(WorkspaceError, match="is no segmentation"):
        segmentation.current(workspace)


def test_a_pickle_is_not_opened(workspace: Workspace, tmp_path: Path) -> None:
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    content = pickle.dumps(Trap())
    (published(workspace) / "models" / "segments.json").write_bytes(content)
    with pytest.raises(WorkspaceError):
        segmentation.current(workspace)
    assert not trap.exists()
    pickle.loads(content)  # it is a trap: opened, it acts
    assert trap.exists()


def test_the_current_run_answers_else_what_was_adopted(workspace: Workspace, tmp_path: Path) -> None:
    assert segmentation.current(workspace) is None
    other = Workspace.create(tmp_path / "other")
    run = published(other)
    bundle.pack(other, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "models" / "registry.json").exists()
    begun, champions, adopted = bundle.begin(workspace.path, tmp_path / "bundle")
    assert (champions, adopted is not None) == ([], True)
    found = segmentation.current(begun)
    assert found is not None
    assert (found.version, found.names) == (run.name, tuple(NAMES))
    assert bundle.begin(workspace.path, tmp_path / "bundle")[2] is None
    own = published(workspace, {**RECORD, "names": ["A", "B", "C", "D"]})
    newer = segmentation.current(workspace)
    assert newer is not None
    assert (newer.version, newer.names[0]) == (own.name, "A")


def test_an_adopted_record_that_was_changed_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace.create(tmp_path / "other")
    published(other)
    bundle.pack(other, tmp_path / "bundle")
    file = tmp_path / "bundle" / "models" / "segments.json"
    file.write_text(file.read_text().replace("Platinum", "Platinium"))
    with pytest.raises(WorkspaceError, match="is not what was bundled"):
        bundle.begin(workspace.path, tmp_path / "bundle")
    (tmp_path / "bundle" / "models" / "segments.digest.json").unlink()
    with pytest.raises(WorkspaceError, match="does not say"):
        segmentation.of_bundle(tmp_path / "bundle")
    assert segmentation.current(workspace) is None


def test_a_service_takes_a_new_run_up_and_no_broken_one(workspace: Workspace) -> None:
    clock = iter(range(100))
    watched = Watched(workspace, lambda: next(clock))
    assert watched.current() is None
    run = published(workspace)
    first = watched.current()
    assert first is not None
    assert first.version == run.name
    assert watched.current() is first
    broken = published(workspace, {**RECORD, "names": []})
    assert watched.current() is first
    assert watched.trouble == (
        f"the segmentation cannot be loaded (WorkspaceError): that of {run.name} answers"
    )
    (broken / "models" / "segments.json").write_text(json.dumps(RECORD))
    mended = watched.current()
    assert mended is not None
    assert (mended.version, watched.trouble) == (broken.name, None)


def test_one_subscriber_is_explained(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="no run"):
        segmentation.subscriber(workspace, PSEUDONYMS[0])
    run = published(workspace)
    found = segmentation.subscriber(workspace, PSEUDONYMS[0])
    assert (found["segment"], found["segment_name"], found["version"]) == (0, "Platinum", run.name)
    # From (0, .5, -.25, -.25): to the fourth 1.5, 1, .25 and .25; to the third 2.5, .25, .25; ...
    assert found["distances"] == {
        "Platinum": 0.0,
        "Gold": pytest.approx(math.sqrt(0.25 + 2 * 3.25**2)),
        "Silver": pytest.approx(math.sqrt(6.25 + 0.125)),
        "Diamond": pytest.approx(math.sqrt(2.25 + 1 + 0.125)),
    }
    assert [(one["input"], one["value"], one["part"]) for one in found["deciding"]] == [
        ("region", 2.0, 2.25),
        ("tenure_days", 2000.0, 1.0),
        ("ul_kilobytes", 17_500_000.0, 0.0625),
        ("dl_kilobytes", 175_000_000.0, 0.0625),
    ]
    lacking = segmentation.subscriber(workspace, PSEUDONYMS[2])
    assert (lacking["segment"], lacking["lacking"], lacking["deciding"]) == (None, "tenure_days", None)
    with pytest.raises(NotFoundError, match="no such subscriber"):
        segmentation.subscriber(workspace, "f" * 32)
    (run / "models" / "segments.json").unlink()
    with pytest.raises(NotFoundError, match="has no segments"):
        segmentation.subscriber(workspace, PSEUDONYMS[0])
