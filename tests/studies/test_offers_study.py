"""The studies of offers and recommendations on small maps by hand: effects planted, turned, removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from offered import choice, evaluation, node_rows, offer, offer_inputs, recommendation_inputs

from subsight.answers import Answer, dumps
from subsight.results import respectful
from subsight.studies.offers import (
    QUESTIONS,
    RECOMMENDATION_QUESTIONS,
    OfferInputs,
    RecommendationInputs,
)

MINIMUM = 15


def answers(inputs: OfferInputs) -> dict[str, Answer]:
    """The answers as a run publishes them, by the question's name."""
    return _published([question.answer(inputs) for question in QUESTIONS])


def recommended(inputs: RecommendationInputs) -> dict[str, Answer]:
    return _published([question.answer(inputs) for question in RECOMMENDATION_QUESTIONS])


def _published(found: list[Answer]) -> dict[str, Answer]:
    values = json.loads(dumps(found))
    return {one["id"].partition(".")[2]: respectful(Answer.from_json(one), MINIMUM) for one in values}


def column(answer: Answer, name: str) -> list[Any]:
    return [row[name] for row in answer.rows]


def said(answer: Answer) -> str:
    return " ".join(answer.reading)


# The map


def test_the_map_says_how_many_lie_on_it_and_how_well() -> None:
    found = answers(offer_inputs())["map"]
    assert found.reading[:2] == (
        "180 subscribers lie by their usage on a map of 4 hexagons, fitted to all of them; on 1 of these "
        "lies nobody.",
        "A subscriber is 1.50 z units from its node on average; nodes explain 62.0 % of the squared distance "
        "to the mean. For 3.0 % the two nearest nodes are no neighbours: the map keeps neighbours well.",
    )
    assert column(found, "subscriber_share") == pytest.approx([100 / 180, 50 / 180, 0.0, 30 / 180])
    assert found.facts["topographic_error"] == 0.03


@pytest.mark.parametrize(
    ("broken", "words"),
    [(0.05, "keeps neighbours well"), (0.2, "keeps most neighbours"), (0.21, "tears neighbours apart")],
)
def test_neighbours_that_are_torn_apart_are_said(broken: float, words: str) -> None:
    errors = {**offer_inputs().errors, "topographic_error": broken, "explained_share": 0.4}
    reading = answers(offer_inputs(errors=errors))["map"].reading[1]
    assert words in reading
    assert "40.0 % of the squared distance to the mean, less than half." in reading


def test_the_fullest_the_emptiest_and_the_border_are_where_they_were_put() -> None:
    counts = [900, 100, 100, 100, 100, 100, 100, 100, 20]
    nodes = node_rows(counts, 3, "rectangular")
    for node in nodes:
        node["neighbour_distance"] = 5.0 if node["node"] == 1 else 1.0
    found = answers(offer_inputs(counts, 3, nodes=nodes, topology="rectangular"))["map"]
    # 900 of 1620; 20 where 1620 / 9 = 180 are usual.
    assert found.reading[2:] == (
        "Most are at the top left of the map, 55.6 % of those shown (its fullest node: trait 0).",
        "It is emptiest at the bottom right: 20.0 a node, where 180.0 are usual.",
        "The strongest border is at the top: 5.00 z units to the neighbours, where 1.00 are usual.",
    )
    left = [{**node, "subscriber_count": 20 if node["node"] == 3 else 100} for node in nodes]
    reading = said(answers(offer_inputs([100] * 9, 3, nodes=left, topology="rectangular"))["map"])
    assert "It is emptiest at the left: 20.0 a node" in reading
    flat = [{**node, "neighbour_distance": 1.0, "subscriber_count": 100} for node in nodes]
    reading = said(answers(offer_inputs([100] * 9, 3, nodes=flat, topology="rectangular"))["map"])
    assert "No border stands out" in reading
    assert "emptiest" not in reading


def test_numbers_of_small_nodes_are_the_same_few_in_no_answer() -> None:
    found = answers(offer_inputs((100, 9, 0, 30), 2))
    # Nine are too few, and thirty is the next smallest: a total would give the nine away.
    for name in ("map", "planes", "nodes"):
        assert column(found[name], "subscriber_count") == [100, None, 0, None]
        assert column(found[name], "node") == [0, 1, 2, 3]
        assert column(found[name], "node_x") == [0.0, 1.0, 0.5, 1.5]
    assert column(found["map"], "traits") == ["trait 0", None, None, "trait 3"]
    assert column(found["map"], "neighbour_distance") == pytest.approx([1.0, None, 1.2, None])
    assert column(found["planes"], "dl_bytes_z") == [0.0, None, 1.0, None]
    assert column(found["nodes"], "buyer_count") == [20, None, 20, None]
    assert column(found["nodes"], "first_offer_id") == ["video", "popular", "popular", "popular"]


def test_what_varies_most_comes_first_and_what_does_not_is_left_out() -> None:
    found = answers(offer_inputs((50, 50, 50, 50)))["planes"]
    # 0, 1, 2, 3: a deviation of sqrt(1.25); the uplink is the same everywhere.
    assert found.reading == (
        "The map tells subscribers apart most by YouTube (applications) (a standard deviation of 1.12 z "
        "units between nodes), then by downlink volume.",
    )
    assert found.columns[4:] == ("applications=YouTube", "dl_bytes_z")
    # Of nodes without people nobody can be told apart: all lie in the first.
    alone = answers(offer_inputs((50, 0, 0, 0)))["planes"]
    assert alone.reading == ("Nothing varies over the map.",)


def test_a_dot_in_a_feature_is_no_path_in_a_chart() -> None:
    planes = {"applications=Amazon.com": [0.0, 1.0, 2.0, 3.0]}
    found = answers(offer_inputs(planes=planes))["planes"]
    assert found.columns[-1] == "applications=Amazon com"
    assert found.chart is not None
    assert found.chart["transform"][0]["fold"] == ["applications=Amazon com"]


# How it came to be


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((4.0, 2.0, 1.995), "It converged: over the last epoch it changed by less than 1 %."),
        ((4.0, 2.0, 1.8), "It did not converge: over the last epoch it is still falling, by 10.0 %"),
        ((2.0, 2.0, 2.2), "It did not converge: over the last epoch it is still rising, by 10.0 %"),
        ((4.0,), "too few to say where it goes"),
    ],
)
def test_training_says_whether_it_converged(errors: tuple[float, ...], words: str) -> None:
    history = [
        {"epoch": i, "radius": 1.0, "quantisation_error": error, "movement": 0.1}
        for i, error in enumerate(errors)
    ]
    assert words in said(answers(offer_inputs(history=history))["training"])


def test_an_error_that_falls_with_the_radius_is_not_blamed_on_the_epochs() -> None:
    history = [
        {"epoch": i, "radius": radius, "quantisation_error": error, "movement": 0.1}
        for i, (radius, error) in enumerate(((2.0, 4.0), (1.5, 2.0), (1.0, 1.8)))
    ]
    assert (
        answers(offer_inputs(history=history))["training"]
        .reading[1]
        .startswith("Over the last epoch it still fell, by 10.0 %, as the radius did (from 1.5 to 1): ")
    )


def test_encoding_says_what_was_unknown() -> None:
    inputs = offer_inputs()
    assert answers(inputs)["encoding"].reading == (
        "2 columns became 25 features: applications as 0 or 1 for each of their values; downlink volume on a "
        "logarithmic scale.",
        "12 values of applications were not seen when the map was made, and ignored.",
        "3 missing numbers of downlink volume were filled in with the median.",
    )
    known = [{**row, "unseen_count": 0, "filled_count": 0} for row in inputs.encoding]
    reading = answers(offer_inputs(encoding=known))["encoding"].reading
    assert reading[1:] == ("Every value was seen when the map was made.", "No number was missing.")


# Offers


def test_nodes_say_where_the_map_differs_from_what_most_buy() -> None:
    found = answers(offer_inputs())["nodes"]
    # Of three nodes with people one begins with video: 100 of 180 subscribers.
    assert found.reading == (
        "In 1 of 3 nodes with subscribers, with 55.6 % of those shown, the first choice is another than "
        "popular, the offer that most buy.",
        "The highest lift is that of video in node 0 (trait 0): it is bought 3.0 times as often there as by "
        "everybody.",
    )
    nodes = node_rows((100, 50, 0, 30), 2)
    same = answers(offer_inputs(choices=[choice(node, 1, "popular", lift=0.9) for node in nodes]))["nodes"]
    assert same.reading == (
        "In all 3 nodes with subscribers the first choice is popular, which most buy anyway.",
        "In no node is the first choice bought more often than by everybody.",
    )


@pytest.mark.parametrize(("evidence", "where"), [((0, 1), "2 of 3 nodes"), ((0, 1, 3), "every node")])
def test_a_choice_without_evidence_says_so(evidence: tuple[int, ...], where: str) -> None:
    nodes = node_rows((100, 50, 0, 30), 2)
    none = {"evidence": "rule, no evidence", "lift": None, "buyer_count": 0}
    choices = [choice(node, 1, "games", **none if node["node"] in evidence else {}) for node in nodes]
    found = answers(offer_inputs(choices=choices))["nodes"]
    assert (
        f"In {where} the first choice follows a rule and rests on no evidence: neither a purchase nor a "
        "mapping speaks for it."
    ) in found.reading
    assert column(found, "first_lift")[0] is None


def test_few_buyers_are_not_told_and_their_lift_is_coarse() -> None:
    nodes = node_rows((100, 50, 40, 30), 2)
    choices = [choice(node, 1, "video", lift=2.3, buyer_count=(40, 3, 20, 30)[i])
               for i, node in enumerate(nodes)]  # fmt: skip
    found = answers(offer_inputs((100, 50, 40, 30), choices=choices))["nodes"]
    # Three are too few, and twenty the next smallest.
    assert column(found, "buyer_count") == [40, None, None, 30]
    assert column(found, "first_lift") == [2.3, 2.5, 2.5, 2.3]
    assert column(found, "score") == [0.2, None, None, 0.2]


def test_only_one_offer_an_empty_catalogue_and_nobody_anywhere() -> None:
    nodes = node_rows((100, 50, 0, 30), 2)
    one = answers(offer_inputs(offers=[offer("only", 300, 4)], choices=[choice(n, 1, "only") for n in nodes]))
    assert one["nodes"].reading[0] == "There is only one offer, only: the map has nothing to choose from."
    assert one["catalogue"].reading[0] == "The only offer is valid."
    none = answers(offer_inputs(offers=[], choices=[]))
    assert none["nodes"].reading == ("No node has an offer: the catalogue is empty.",)
    assert none["catalogue"].reading == ("The catalogue holds no offer.",)
    assert none["nodes"].chart is None
    nobody = answers(offer_inputs((0, 0, 0, 0)))
    assert nobody["nodes"].reading == ("No node with an offer has subscribers.",)
    assert "on 4 of these lies nobody" in nobody["map"].reading[0]
    without = answers(offer_inputs((), planes={}, choices=[]))
    assert without["map"].reading == ("There is no map.",)


def test_the_catalogue_counts_states_and_hides_few_buyers() -> None:
    offers = [offer("a", 300, 2), offer("b", 9, 1), offer("c", 0, 0), offer("d", 500, 0, state="over")]
    found = answers(offer_inputs(offers=offers))["catalogue"]
    assert found.reading == (
        "Of 4 offers, 3 are valid and 1 is over.",
        "The most popular that is valid is a: 30.0 % of all bought it.",
        "1 of 3 valid offers rests on a rule and no evidence: c.",
        "1 of 3 valid offers is the first choice of no node: c.",
    )
    assert column(found, "offer_id") == ["a", "b", "c", "d"]
    assert column(found, "buyer_count") == [300, None, 0, 500]
    assert column(found, "bought_share") == [0.3, None, 0.0, 0.5]


# Whether it is worth it


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (0.02, 0.08, "The map's offers hit more often than the most popular ones: 25.0 %"),
        (-0.08, -0.02, "The map's offers hit less often than the most popular ones: 15.0 %"),
        (-0.03, 0.05, "There is no clear difference between the map's offers and the most popular ones"),
        (0.0, 0.08, "There is no clear difference between the map's offers and the most popular ones"),
    ],
)
def test_the_first_sentence_says_whether_the_map_beats_popularity(
    low: float, high: float, start: str
) -> None:
    found = answers(offer_inputs(evaluation=evaluation(low, high)))["evaluation"]
    assert found.reading[0].startswith(start)
    assert found.reading[0].endswith("offer those until it does better.") == (high < 0)
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f}" in found.reading[0]
    assert found.reading[1].startswith(
        "The map's offers hit more often than those of the nearest subscribers"
    )
    assert "better than random ones; worse than the most popular ones" in said(found)
    assert len(found.rows) == 16


def test_what_was_not_evaluated_says_why() -> None:
    found = answers(offer_inputs(evaluation=None, why_not_evaluated="all purchases are of one day."))
    assert found["evaluation"].reading == (
        "Whether the map beats popularity is not known: all purchases are of one day.",
    )
    few = answers(offer_inputs(evaluation=evaluation(0.1, 0.2, held_out=9)))["evaluation"]
    assert few.reading == (
        "Whether the map beats popularity is not known: fewer than 15 subscribers could be judged.",
    )
    assert (few.rows, few.chart) == ([], None)


# Recommendations


def test_the_funnel_tells_no_step_of_a_few() -> None:
    found = recommended(recommendation_inputs())["funnel"]
    # Ten fell out of eligibility: too few to tell.
    assert column(found, "subscriber_count") == [1000, 1000, None, 950, 950, 800, 700]
    # 2000 of 2000 + 500 + 300 + 700 + 400.
    assert found.reading == (
        "Of 1,000 subscribers with an offer in the catalogue, 70.0 % have one left after all rules.",
        "The strictest is validity: 51.3 % of what is taken away (on 2 March 2024).",
        "Nothing is taken away by contact cap.",
    )


def test_outcomes_are_shares_of_all_and_small_ones_are_not_said() -> None:
    found = recommended(recommendation_inputs())["outcomes"]
    assert found.reading == (
        "Of 1,000 subscribers, 60.0 % get an offer of the map.",
        "Of the others: 15.0 % poor experience, 10.0 % defaults: too little usage, 10.0 % held out and 5.0 % "
        "nothing may be offered.",
    )
    rows = [
        {"outcome": "recommended", "subscriber_count": 300},
        {"outcome": "held out", "subscriber_count": 5},
    ]
    few = recommended(recommendation_inputs(outcomes=rows))["outcomes"]
    assert few.reading == (
        "Of 305 subscribers, too few are on one side to say how many get an offer of the map.",
    )
    assert column(few, "subscriber_count") == [None, None]
    none = recommended(recommendation_inputs(outcomes=[{"outcome": "held out", "subscriber_count": 300}]))
    assert none["outcomes"].reading[0] == "None of 300 subscribers gets an offer of the map."


def test_offers_say_which_comes_first_and_when_all_get_the_same() -> None:
    inputs = recommendation_inputs()
    found = recommended(inputs)["offers"]
    assert column(found, "offer_id") == ["video", "popular", "games"]
    assert found.reading == (
        "3 offers go to somebody; video is most often the first, for 42.9 % of those who get any.",
        "10.0 % of what is offered is a default.",
    )
    same = [{**row, "first_count": 600 if row["offer_id"] == "video" else 20} for row in inputs.offers]
    reading = said(recommended(recommendation_inputs(offers=same))["offers"])
    assert "More than half get the same offer first" in reading
    defaults = [{**row, "fallback_count": row["subscriber_count"]} for row in same]
    reading = said(recommended(recommendation_inputs(offers=defaults))["offers"])
    assert "the map tells" not in reading
    nobody = recommended(recommendation_inputs(offers=[]))["offers"]
    assert nobody.reading == ("No offer goes to anybody.",)


def test_examples_are_of_single_subscribers_and_labelled() -> None:
    found = recommended(recommendation_inputs())["examples"]
    assert found.ranks_subscribers
    assert found.reading == (
        "4 recommendations to 4 subscribers, 1 of them a default, as they were chosen on 2 March 2024.",
    )
    assert len(found.rows) == 4


def test_without_responses_nothing_is_claimed() -> None:
    found = recommended(recommendation_inputs())
    assert found["value"].reading == (
        "There are no responses yet: what the recommendations are worth is not known.",
    )
    assert found["uplift"].reading == (
        "There are no responses yet: whether recommendations sell is not known.",
    )


def worth(popularity: float, effective: float = 100.0) -> Mapping[str, Any]:
    rows = [
        {"policy": policy, "value": value, "low": value - 0.01, "high": value + 0.01,
         "effective_count": effective}
        for policy, value in (("as recommended", 0.1), ("popularity", popularity))
    ]  # fmt: skip
    return {"rows": rows, "response_days": 14, "shown_count": 900, "subscriber_count": 400}


@pytest.mark.parametrize(
    ("popularity", "words"),
    [(0.05, "more than popularity"), (0.2, "less than popularity"), (0.11, "not clearly different from")],
)
def test_what_recommendations_are_worth_turns_with_the_other(popularity: float, words: str) -> None:
    found = recommended(recommendation_inputs(value=worth(popularity)))["value"]
    assert (
        found.reading[0]
        == "As recommended, an offer shown was worth 0.1 purchases within 14 days (0.09 to 0.11)."
    )
    assert found.reading[1].startswith(f"That is {words}")
    assert len(found.reading) == 2
    assert "rough" in said(recommended(recommendation_inputs(value=worth(popularity, 12.0)))["value"])


def uplift(ours: int, theirs: int, low: float, high: float) -> Mapping[str, Any]:
    sides = (("recommended", 1000, ours), ("held out", 500, theirs))
    rows = [
        {"group": group, "subscriber_count": count, "buyer_count": buyers, "buyer_share": buyers / count}
        for group, count, buyers in sides
    ]
    return {"rows": rows, "difference": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (0.01, 0.05, "Recommendations sell more than none: 10.0 % bought, against 8.0 %"),
        (-0.05, -0.01, "Recommendations sell less than none: 10.0 % bought, against 8.0 %"),
        (-0.01, 0.05, "There is no clear difference between those recommended to and those held out"),
    ],
)
def test_uplift_turns_with_its_interval(low: float, high: float, start: str) -> None:
    found = recommended(recommendation_inputs(uplift=uplift(100, 40, low, high)))["uplift"]
    assert found.reading[0].startswith(start)


def test_uplift_of_few_buyers_tells_no_share() -> None:
    found = recommended(recommendation_inputs(uplift=uplift(100, 4, 0.01, 0.2)))["uplift"]
    assert column(found, "buyer_count") == [None, None]
    assert column(found, "buyer_share") == [None, None]
    assert found.reading == ("Recommendations sell more than none (10.5 points, 95 % interval 1.0 to 20.0).",)


def test_every_question_is_answered_under_its_own_id() -> None:
    ids = [one.id for one in QUESTIONS] + [one.id for one in RECOMMENDATION_QUESTIONS]
    assert len(set(ids)) == len(ids) == 13
    found = [question.answer(offer_inputs()) for question in QUESTIONS]
    more = [question.answer(recommendation_inputs()) for question in RECOMMENDATION_QUESTIONS]
    assert [answer.id for answer in (*found, *more)] == ids
    assert all(answer.reading for answer in (*found, *more))
