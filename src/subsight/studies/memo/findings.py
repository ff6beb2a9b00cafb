"""Findings: numbers of other answers against stated thresholds, about the service and about the data.

A number past the threshold makes a strength, one short of it an issue, one too close to tell no
clear difference. The decision memo is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from subsight.studies import Inputs, words

__all__ = [
    "Finding",
    "facts_of",
    "line_of",
    "number",
    "of_data",
    "of_service",
    "rows_of",
    "say",
    "standing_limits",
]

State = Literal["good", "bad", "unclear"]


@dataclass(frozen=True)
class Finding:
    """A number against a threshold: which side it is on, in words, and where the words would turn.

    `band` is how far a number has to be from the threshold to be clearly on one side of it: three
    standard errors, or 0 for facts of the data. `affected` counts the subscribers that an action reaches.
    `at_most` marks a number that stands for a group too small to count: the truth is at or below it.
    """

    subject: str
    good: str
    bad: str
    measure: str
    value: float
    unit: str
    threshold: float
    better: Literal["low", "high"]
    evidence: str
    band: float = 0.0
    action: str = ""
    affected: float | None = None
    at_most: bool = False

    @property
    def state(self) -> State:
        """Whether the number is clearly on the good or bad side of the threshold."""
        gap = self.threshold - self.value if self.better == "low" else self.value - self.threshold
        if gap >= self.band:
            return "good"
        return "bad" if gap < -self.band or self.band == 0 else "unclear"

    @property
    def text(self) -> str:
        """The finding as a sentence without its full stop."""
        words_of = {"good": self.good, "bad": self.bad, "unclear": f"No clear difference in {self.subject}"}
        return f"{words_of[self.state]}: {self.stated}"

    @property
    def amount(self) -> str:
        """The number as a person reads it."""
        return f"{'at most ' if self.at_most else ''}{say(self.value, self.unit)}"

    @property
    def stated(self) -> str:
        """The number with what it measures, in words."""
        return f"{'an R2 of ' if self.unit == 'R2' else ''}{self.amount} {self.measure}"

    @property
    def mark(self) -> float:
        """The one number that decides: the finding is good from there on, and not short of it."""
        return self.threshold + (-self.band if self.better == "low" else self.band)

    @property
    def wanted(self) -> str:
        """When the finding would be good, in words, and how far it is from there."""
        bound = f"{'at most' if self.better == 'low' else 'at least'} {say(self.mark, self.unit)}"
        now = "" if self.state == "good" else f" (now {self.amount})"
        if self.measure.startswith("of "):
            return f"{bound} {self.measure}{now}"
        return f"{'R2' if self.unit == 'R2' else 'the gap'} {self.measure} is {bound}{now}"

    @property
    def turns(self) -> str:
        """Where the sentence turns, in words: beyond the mark for a strength, at the mark for all else."""
        beyond, within = ("above", "less") if self.better == "low" else ("below", "more")
        if self.state == "good":
            return f"{beyond} {say(self.mark, self.unit)}"
        met = f"at {say(self.mark, self.unit)} or {within}"
        if self.state == "bad":
            return met
        issue = say(2 * self.threshold - self.mark, self.unit)
        return f"{met} (a strength) and {beyond} {issue} (an issue)"

    def row(self, line: str | None = None) -> dict[str, Any]:
        """The finding as a line of the memo."""
        flips = f"{self.subject} {self.turns}"
        return line_of(line or self.text, self.value, self.unit, self.mark, flips, self.evidence)


def say(value: float, unit: str) -> str:
    """A number with its unit, as a person reads it."""
    if unit in ("share", "bytes"):
        return words.say(value, f"_{unit}")
    if unit == "share points":
        return f"{100 * value:+.1f} points"
    if unit == "R2":
        return f"{value:.3f}"
    return f"{value:+.3g} {unit}" if unit == "index points" else f"{value:,.3g} {unit}".rstrip()


# Findings about the service


@dataclass(frozen=True)
class _Rule:
    """Where a finding's numbers stand: names of facts of the answer `evidence`.

    `{level}` in `measure` is the service level that the answer measured against.
    """

    evidence: str
    value: str
    threshold: float
    better: Literal["low", "high"]
    subject: str
    good: str
    bad: str
    measure: str
    action: str
    unit: str = "share"
    count: str | None = None  # of subscribers: makes the band of a share
    band: str | None = None
    affected: str | None = None


_LEVELS: Final = "satisfaction.service_levels"
_SERVICE: Final = (
    _Rule(_LEVELS, "rtt_ms_short_share", 0.1, "low", "the share with long round-trip times",
          "Round-trip times are short", "Round-trip times are long",
          "of the measured subscribers are above {level}",
          "shorten paths where round-trip times are long",
          count="rtt_ms_measured_count", affected="rtt_ms_short_count"),
    _Rule(_LEVELS, "throughput_kbps_short_share", 0.1, "low", "the share with low throughput",
          "Throughput is sufficient", "Throughput is low",
          "of the measured subscribers are below {level}",
          "find out whether low throughput is lack of capacity or of demand, and add capacity where it is",
          count="throughput_kbps_measured_count", affected="throughput_kbps_short_count"),
    _Rule(_LEVELS, "retransmission_share_short_share", 0.1, "low", "the share with much retransmission",
          "Little is sent twice", "Much is sent twice",
          "of the measured subscribers have more than {level} of their volume sent again",
          "look for radio and transport losses where much is retransmitted",
          count="retransmission_share_measured_count", affected="retransmission_share_short_count"),
    _Rule("satisfaction.served", "engaged_gap", 0.0, "high",
          "experience of the most against the least engaged",
          "The most engaged are better served", "The most engaged are worse served",
          "between the mean experience indices of the most and the least engaged",
          "serve the most engaged first",
          unit="index points", band="engaged_gap_band"),
    _Rule("satisfaction.served", "balance", 0.0, "high", "best against worst experience",
          "More subscribers are best than worst served", "More subscribers are worst than best served",
          "between the shares in the best and in the worst experience cluster",
          "move subscribers out of the worst experience cluster", unit="share points", band="balance_band"),
    _Rule("satisfaction.retention", "single_session_share", 0.5, "low", "the share seen once",
          "Subscribers come back", "Most subscribers are seen once",
          "of subscribers have one session only",
          "find out whether subscribers seen once are visitors or leaving",
          count="subscriber_count"),
    _Rule("satisfaction.clusters", "experience_index_gap", 0.0, "high", "experience of the more satisfied",
          "The more satisfied are better served", "The more satisfied are worse served",
          "between the mean experience indices of the more and the less satisfied",
          "report experience beside satisfaction, as the two are not the same", unit="index points",
          band="experience_index_gap_band"),
    _Rule("engagement.clusters", "cluster_2_traffic_share", 0.5, "low",
          "the most engaged group's share of traffic",
          "Traffic does not hang on the most engaged", "Traffic hangs on the most engaged",
          "of the traffic is the most engaged group's", "bind the most engaged with a plan of their own",
          count="subscriber_count"),
)  # fmt: skip


def of_service(inputs: Inputs) -> tuple[list[Finding], list[str]]:
    """Findings about the service, and the answers that they lack."""
    found, lacking = [], []
    for rule in _SERVICE:
        facts = facts_of(inputs, rule.evidence)
        value, band = number(facts, rule.value), _band(inputs, facts, rule)
        bound = number(facts, f"{rule.value}_at_most")
        at_most = value is None and bound is not None
        value = bound if at_most else value
        if value is None or band is None:
            lacking.append(rule.evidence)
            continue
        affected = number(facts, rule.affected) if rule.affected else None
        stem = rule.value.removesuffix("_short_share")
        measure = rule.measure.format(level=words.say(number(facts, f"{stem}_level"), stem))
        found.append(
            Finding(rule.subject, rule.good, rule.bad, measure, value, rule.unit,
                    rule.threshold, rule.better,
                    rule.evidence, band, rule.action, affected, at_most)
        )  # fmt: skip
    handsets = "experience.throughput_by_handset"
    facts = facts_of(inputs, handsets)
    count, slow = number(facts, "handset_count"), number(facts, "slow_handset_count")
    if not count or slow is None:
        return found, [*lacking, handsets]
    found.append(
        Finding("the share of slow handsets", "Few handsets are slow", "Many handsets are slow",
                "of the compared handsets have clearly lower throughput than the handset in the middle",
                slow / count, "share", 0.1, "low", handsets,
                action=f"test the slowest handset ({facts.get('slow_handset')}) "
                       "against the radio configuration")
    )  # fmt: skip
    return found, lacking


def facts_of(inputs: Inputs, id: str) -> Mapping[str, Any]:
    """The facts of an answer; none where it was not given."""
    answer = inputs.answers.get(id)
    return answer.facts if answer is not None else {}


def rows_of(inputs: Inputs, id: str) -> Sequence[Mapping[str, Any]]:
    """The rows of an answer; none where it was not given."""
    answer = inputs.answers.get(id)
    return answer.rows if answer is not None else ()


def number(facts: Mapping[str, Any], name: str) -> float | None:
    """A fact that is a finite number, or None."""
    value = facts.get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]


def _three_errors(share: float, count: float) -> float:
    # No wider than the threshold itself: a share of 0 or 1 is always on a side.
    return min(words.LEAST_ERRORS * math.sqrt(share * (1 - share) / count), share, 1 - share)


def _band(inputs: Inputs, facts: Mapping[str, Any], rule: _Rule) -> float | None:
    if rule.band:
        return number(facts, rule.band)
    count = number(facts, rule.count or "")
    if count is None:  # the answer does not count; every study speaks of the same subscribers
        count = number(facts_of(inputs, "satisfaction.retention"), "subscriber_count")
    return _three_errors(rule.threshold, count) if count else None


# Findings about the data


def of_data(inputs: Inputs) -> tuple[list[Finding], list[str]]:
    """Findings about the data themselves, and the answers that they lack."""
    found, lacking = _quality(inputs), []
    for metric, word in (("tcp_retransmission", "retransmission"), ("rtt", "round-trip time"),
                         ("throughput", "throughput")):  # fmt: skip
        share = number(facts_of(inputs, "experience.filled"), f"{metric}_filled_share")
        if share is None:
            lacking.append("experience.filled")
            continue
        found.append(
            Finding(f"the share of sessions without {word}", f"Sessions have their {word} measured",
                    f"Sessions lack their {word}, which is filled in",
                    f"of sessions lack a direction of {word}",
                    share, "share", 0.25, "low", "experience.filled",
                    action=f"measure {word} in every session")
        )  # fmt: skip
    for id, fact, threshold, better, subject, good, bad, measure, action in _OF_ANSWERS:
        value, bound = (number(facts_of(inputs, id), name) for name in (fact, f"{fact}_at_most"))
        at_most = value is None and bound is not None
        value = bound if at_most else value
        if value is None:
            lacking.append(id)
            continue
        unit = "share" if fact.endswith("share") else "R2"
        found.append(
            Finding(subject, good, bad, measure, value, unit, threshold, better, id, action=action,
                    at_most=at_most)
        )  # fmt: skip
    return found, lacking


_OF_ANSWERS: Final[tuple[tuple[str, str, float, Literal["low", "high"], str, str, str, str, str], ...]] = (
    ("experience.observed", "same_cluster_share", 0.9, "high", "the share that keeps its experience group",
     "Experience groups hold without fill-in", "Experience groups depend on fill-in",
     "of fully observed subscribers keep their group when the others are left out",
     "judge experience on fully observed subscribers only"),
    ("satisfaction.score_and_index", "satisfaction_high_score_low_index_share", 0.1, "low",
     "the share with a high score and a low index", "The satisfaction score means what it says",
     "The satisfaction score misleads", "of subscribers have a score above and an index below the mean",
     "use the direction-aware index beside the score"),
    ("overview.unknown_handsets", "unknown_handset_session_share", 0.1, "low",
     "the share of sessions without a handset", "Nearly every session names its handset",
     "Many sessions name no handset", "of sessions name no handset", "repair the handsets at the source"),
    ("satisfaction.behaviour", "r2", 0.13, "high", "R2 of the behaviour model",
     "Behaviour predicts satisfaction", "Behaviour hardly predicts satisfaction",
     "on held-out subscribers", "do not target single subscribers by predicted satisfaction"),
)  # fmt: skip


def _quality(inputs: Inputs) -> list[Finding]:
    quality, found = inputs.quality, []

    def source(key: str) -> str:
        return "overview.coverage" if "overview.coverage" in inputs.answers else f"quality: {key}"

    coverage = quality.get("coverage") or []
    sessions = sorted((row["session_count"] or 0 for row in coverage), reverse=True)
    if sum(sessions):
        found.append(
            Finding("the share of the three busiest days", "Sessions are spread over the days",
                    "The data are a few days, whatever period they name",
                    "of sessions start on the three busiest days",
                    sum(sessions[:3]) / sum(sessions), "share", 0.5, "low", source("coverage"),
                    action="ask for a whole month of sessions")
        )  # fmt: skip
    for key, whole, subject, good, bad, measure, action in (
        ("without_subscriber_count", "accepted", "the share without an identifier",
         "Nearly every record names its subscriber", "Many records name no subscriber",
         "of accepted records have no subscriber identifier", "repair the identifiers at the source"),
        ("rejected", "records", "the share of rejected records", "Few records were rejected",
         "Many records were rejected", "of records were rejected", "repair the records at the source"),
    ):  # fmt: skip
        if quality.get(whole) and quality.get(key) is not None:
            found.append(
                Finding(subject, good, bad, measure, quality[key] / quality[whole], "share", 0.05, "low",
                        source(key), action=action)
            )  # fmt: skip
    periods = quality.get("periods") or {}
    first, second, both = (periods.get(f"{k}_subscriber_count") or 0 for k in ("first", "second", "both"))
    if first + second - both > 0:
        found.append(
            Finding("the share seen in both periods", "Two periods can be compared",
                    "No trend, growth or loss can be read from the periods",
                    "of subscribers are seen in both halves of the period",
                    both / (first + second - both), "share", inputs.settings.minimum_overlap_share, "high",
                    source("periods"),
                    action="ask for data in which subscribers are seen over several weeks")
        )  # fmt: skip
    return found


def standing_limits(inputs: Inputs, lacking: Sequence[str]) -> list[dict[str, Any]]:
    """Limits that are there or not: the circular model, no churn, no money, answers that are missing."""
    rows = []
    identity = number(facts_of(inputs, "satisfaction.identity"), "r2")
    if identity is not None:
        rows.append(
            line_of(f"The linear model on the two scores is circular: its R2 of {identity:.3f} is arithmetic",
                 identity, "R2", 1.0, "never: the target is computed from the features",
                 "satisfaction.identity")
        )  # fmt: skip
    names = {*inputs.profiles.collect_schema().names(), *(column.name for column in inputs.contract)}
    for subject, marks, consequence in (
        ("churn or feedback", {"churn", "churned", "feedback"}, "retention risk is a hypothesis"),
        (
            "tariffs, revenue or cost",
            {"tariff", "revenue", "price", "cost", "charge", "bill"},
            "no money is named",
        ),
    ):
        count = sum(bool(marks & set(name.split("_"))) for name in names)
        if not count:
            rows.append(
                line_of(f"No column holds {subject}: {consequence}", 0, "columns", 1,
                     f"a column of {subject} is in the data", "contract: columns")
            )  # fmt: skip
    if lacking:
        rows.append(
            line_of(f"Lines were dropped: no numbers from {words.listing(lacking)}", len(lacking), "answers",
                    0, "these answers hold their numbers", "memo.limits")
        )  # fmt: skip
    return rows


def line_of(
    line: str, value: float | None, unit: str, threshold: float, flips_when: str, evidence: str
) -> dict[str, Any]:
    """A row of the memo."""
    return {"line": line, "value": value, "unit": unit, "threshold": threshold, "flips_when": flips_when,
            "evidence": evidence}  # fmt: skip
