"""The decision memo: what a buyer of the operator may conclude, each line with what would flip it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subsight.answers import Answer
from subsight.studies import Inputs, Question, words
from subsight.studies.memo.findings import (
    Finding,
    facts_of,
    line_of,
    number,
    of_data,
    of_service,
    rows_of,
    say,
    standing_limits,
)

__all__ = ["QUESTIONS"]

LEAST_JUDGED: Final = 4
"""With fewer service criteria than this, nothing is recommended."""
BUY_SHARE: Final = 0.75
"""Share of service and of data criteria to be met for a plain buy."""
CONDITION_SHARE: Final = 0.5
"""Share of service and of data criteria to be met for a conditional one."""
LEAN: Final = 0.1
"""An application leans on a group that makes this much more of its volume than of all volume; more
where the group is small: three times one over the square root of its users."""
WORTH: Final = 0.01
"""Share of the volume, or of subscribers, below which a return is too small to pay for an action."""
_TOP: Final = 3

_TEXT: Final = {
    "strengths": "What speaks for the operator?",
    "technical_issues": "Which issues of network and use would a buyer take over?",
    "actions": "What would have to be done, and for how many subscribers?",
    "application_plans": "What should be planned for users of the top applications?",
    "expected_returns": "What would the actions return?",
    "limits": "What can these data not tell?",
    "recommendation": "Should the operator be bought on this data?",
}


_MARK: Final = (
    "threshold: the one value that decides a line. From there on, on the better side, its criterion is met; "
    "short of it, it is not."
)
_CLEAR: Final = (
    "of a service criterion it is what is asked for (at most a tenth, at most half, no gap), moved to the "
    "better side by three standard errors or the smallest clear effect, so that chance meets no criterion."
)
_TURN: Final = "threshold: the value at which the line turns."
_EVIDENCE: Final = "evidence: the answer in which the number stands."


def _answer(
    name: str, rows: Sequence[Mapping[str, Any]], reading: Sequence[str], *notes: str, **more: Any
) -> Answer:
    return Answer(f"memo.{name}", _TEXT[name], rows, tuple(reading), notes=(*notes, _EVIDENCE), **more)


def _sentence(finding: Finding) -> str:
    return f"{finding.text}. This turns {finding.turns}."


def _strengths(inputs: Inputs) -> Answer:
    found, _ = of_service(inputs)
    good = [finding for finding in found if finding.state == "good"]
    unclear = [finding for finding in found if finding.state == "unclear"]
    reading = [_sentence(finding) for finding in (*good, *unclear)]
    if not good:
        reading.insert(0, "No strength is clear.")
    facts = {"strength_count": len(good), "unclear_count": len(unclear)}
    rows = [finding.row() for finding in (*good, *unclear)]
    return _answer("strengths", rows, reading, _MARK, _CLEAR, facts=facts)


def _technical_issues(inputs: Inputs) -> Answer:
    found, _ = of_service(inputs)
    bad = [finding for finding in found if finding.state == "bad"]
    reading = [_sentence(finding) for finding in bad] or ["No technical issue is clear."]
    facts = {"issue_count": len(bad)}
    rows = [finding.row() for finding in bad]
    return _answer("technical_issues", rows, reading, _MARK, _CLEAR, facts=facts)


def _actions(inputs: Inputs) -> Answer:
    rows, reading = [], []
    for finding in (*of_service(inputs)[0], *of_data(inputs)[0]):
        if finding.state != "bad":
            continue
        line = finding.action[0].upper() + finding.action[1:]
        rows.append(finding.row(line))
        reach = "" if finding.affected is None else f", for {words.plural(finding.affected, 'subscriber')}"
        reading.append(f"{line}{reach}: {finding.stated}.")
    reading = reading or ["No issue is clear, so no action follows."]
    return _answer("actions", rows, reading, _MARK, _CLEAR, facts={"action_count": len(rows)})


# Plans


def _application_plans(inputs: Inputs) -> Answer:
    id, least = "engagement.application_totals", inputs.settings.minimum_group
    slugs = {app.name: app.slug for app in inputs.contract.applications}
    # A remainder is no application that anyone could plan for.
    apps = [
        row for row in rows_of(inputs, id)
        if (row.get("subscriber_count") or 0) >= least and slugs.get(row["application"]) != "other"
    ][:_TOP]  # fmt: skip
    rows, reading = [], []
    for app in apps:
        name = app["application"]
        reading.append(
            f"{name} reaches {words.plural(app['subscriber_count'], 'subscriber')} and carries "
            f"{words.say(app['volume_share'], 'volume_share')} of the applications' volume."
        )
        for row in (_group_plan(inputs, name), _hour_plan(inputs, name, slugs.get(name, ""))):
            if row is not None:
                rows.append(row)
                reading.append(f"{row['line']}. This turns when {row['flips_when']}.")
    if not apps:
        reading = ["No application can be planned for: there are no totals by application."]
    return _answer("application_plans", rows, reading, _TURN, facts={"plan_count": len(rows)})


def _group_plan(inputs: Inputs, name: str) -> dict[str, Any] | None:
    """A plan by who makes the volume: the most engaged group's share of it against their share of all."""
    id = "engagement.applications_by_cluster"
    everything = [row for row in rows_of(inputs, id) if row.get("total_bytes") is not None]
    if not everything:
        return None
    most = max(row["engagement_cluster"] for row in everything)
    heavy = [row for row in everything if row["engagement_cluster"] == most]
    own = [row for row in heavy if row["application"] == name]
    whole = math.fsum(row["total_bytes"] for row in everything)
    of_all = math.fsum(row["total_bytes"] for row in heavy) / whole if whole else 0.0
    enough = own and (own[0].get("subscriber_count") or 0) >= inputs.settings.minimum_group
    if not enough or not of_all or own[0]["application_volume_share"] is None:
        return None
    lift = own[0]["application_volume_share"] / of_all
    said = f"the most engaged make {words.say(own[0]['application_volume_share'], 'a_share')} of its volume"
    said += f" and {words.say(of_all, 'a_share')} of all volume"
    upper = 1 + max(LEAN, words.LEAST_ERRORS / math.sqrt(own[0]["subscriber_count"]))
    if lift > upper:
        line, edge = f"{name}: a large bundle for the most engaged, since {said}", upper
        turns = f"the ratio of both falls to {upper:.2f}"
    elif lift < 1 / upper:
        line, edge = f"{name}: a small entry plan for light users, since {said}", 1 / upper
        turns = f"the ratio of both rises to {edge:.2f}"
    else:
        line, edge = f"{name}: no clear difference between groups, so one plan for all, since {said}", upper
        turns = f"the ratio of both leaves {1 / upper:.2f} to {upper:.2f}"
    return line_of(line, lift, "ratio", edge, turns, id)


def _hour_plan(inputs: Inputs, name: str, slug: str) -> dict[str, Any] | None:
    """A plan by when the application is used: only where its busy hour is clearly busier day by day."""
    id, facts = "engagement.capacity_hours", facts_of(inputs, "engagement.capacity_hours")
    share, least, hour = (
        number(facts, f"{slug}_busy_hour{name}") for name in ("_day_share", "_least_share", "")
    )
    if share is None or least is None or hour is None:
        return None
    said = f"on a mean day {words.say(share, 'a_share')} of its downlink falls in the hour from {hour:.0f}:00"
    if facts.get(f"{slug}_busy_hour_verdict") == "higher":
        line = f"{name}: an allowance outside the busy hour, since {said}, clearly more than in others"
        turns = f"that share falls below {words.say(least, 'a_share')}"
    else:
        line = f"{name}: no plan by hour, since {said}, no clear difference from others"
        turns = f"that share reaches {words.say(least, 'a_share')}"
    return line_of(line, share, "share", least, turns, id)


# Returns


def _returns(inputs: Inputs) -> list[dict[str, Any]]:
    id, facts = "satisfaction.retention", facts_of(inputs, "satisfaction.retention")
    rows = []
    for prefix, who, what in (
        ("heavy_badly_served", "most engaged and worst served", "serving them better"),
        ("cluster_0", "less satisfied", "satisfying them"),
    ):
        volume, share, count = (
            number(facts, f"{prefix}_{name}") for name in ("total_bytes", "volume_share", "subscriber_count")
        )
        if volume is None or share is None or count is None:
            continue
        worth = share >= WORTH
        kept = f"{'' if worth else 'too little to pay for an action: '}{say(volume, 'bytes')}"
        line = (
            f"{words.plural(count, 'subscriber')} are {who}: if they would otherwise leave (a hypothesis), "
        )
        line += f"{what} keeps {kept}, {say(share, 'share')} of the volume"
        turns = f"their share of the volume {_worth_turns(worth)}"
        rows.append(line_of(line, share, "share", WORTH, turns, id))
    for finding in of_service(inputs)[0]:
        if finding.evidence != "satisfaction.service_levels" or finding.affected is None:
            continue
        worth = finding.value >= WORTH
        claim = "would gain from better service" if worth else "are too few to pay for an action"
        who = words.plural(finding.affected, "subscriber")
        turns = f"{finding.subject} {_worth_turns(worth)}"
        line = f"{who} with {finding.subject.removeprefix('the share with ')} {claim}"
        rows.append(line_of(line, finding.value, "share", WORTH, turns, finding.evidence))
    return rows


def _worth_turns(worth: bool) -> str:
    return f"{'falls below' if worth else 'reaches'} {say(WORTH, 'share')}"


def _expected_returns(inputs: Inputs) -> Answer:
    rows = _returns(inputs)
    reading = [f"{row['line']}." for row in rows] or ["No return can be counted: its answers are missing."]
    no_money = [row for row in standing_limits(inputs, []) if "no money" in row["line"]]
    if no_money:
        reading.append(
            "No money is named: the data hold no tariff, revenue or cost. A return is one of these volumes "
            "or counts times revenue per byte or per subscriber, times the share that an action really moves."
        )
    return _answer("expected_returns", rows, reading, _TURN, facts={"return_count": len(rows)})


# Limits and recommendation


def _limits(inputs: Inputs) -> Answer:
    found, lacking = of_data(inputs)
    missing = sorted({*lacking, *of_service(inputs)[1], *_lacking_plans(inputs)})
    failed = [finding for finding in found if finding.state != "good"]
    rows = [finding.row() for finding in (*failed, *(f for f in found if f.state == "good"))]
    standing = standing_limits(inputs, missing)
    reading = [_sentence(finding) for finding in failed]
    reading += [f"{row['line']}." for row in standing]
    facts = {
        "failed_count": len(failed),
        "met_count": len(found) - len(failed),
        "missing_count": len(missing),
    }
    return _answer("limits", [*rows, *standing], reading, _MARK, facts=facts)


def _lacking_plans(inputs: Inputs) -> list[str]:
    needed = ("application_totals", "applications_by_cluster", "capacity_hours")
    ids = (f"engagement.{name}" for name in needed)
    return [id for id in ids if not rows_of(inputs, id) and not facts_of(inputs, id)]


def _verdict(service: Sequence[Finding], data: Sequence[Finding]) -> tuple[str, list[float], float]:
    """The recommendation, the shares of criteria met, and the share at which it would be another."""
    shares = [
        sum(finding.state == "good" for finding in found) / len(found) if found else 0.0
        for found in (service, data)
    ]
    if len(service) < LEAST_JUDGED or min(shares) < CONDITION_SHARE:
        return "do not buy on this data", shares, CONDITION_SHARE
    return ("buy" if min(shares) >= BUY_SHARE else "buy only if"), shares, BUY_SHARE


def _recommendation(inputs: Inputs) -> Answer:
    service, data = of_service(inputs)[0], of_data(inputs)[0]
    verdict, shares, bound = _verdict(service, data)
    rows, facts = [], dict[str, float | str | None]({"recommendation": verdict})
    turns = _turns(verdict, service, data)
    for label, found, share in zip(("service", "data"), (service, data), shares, strict=True):
        met = round(share * len(found))
        facts |= {f"{label}_met_count": met, f"{label}_count": len(found)}
        counted = words.plural(len(found), f"{label} criterion", f"{label} criteria")
        evidence = "memo.strengths" if label == "service" else "memo.limits"
        rows.append(line_of(f"{met} of {counted} met", share, "share", bound, turns, evidence))
    said = " the conditions below are met" if verdict == "buy only if" else ""
    reading = [
        f"Recommendation: {verdict}{said}.",
        f"{rows[0]['line']}, {rows[1]['line']}: a buy needs {_needed(BUY_SHARE, service, data)}, a buy on "
        f"conditions {_needed(CONDITION_SHARE, service, data)}. This turns when {turns}.",
    ]
    if verdict != "buy":
        open_ = [finding for finding in (*service, *data) if finding.state != "good"]
        rows += [finding.row(f"Condition: {finding.wanted}") for finding in open_]
        reading += [f"Condition: {f.wanted}. Until then, {f.action}." for f in open_]
    return _answer("recommendation", rows, reading, _MARK, _CLEAR, facts=facts)


def _least(share: float, found: Sequence[Finding]) -> int:
    return math.ceil(share * len(found))


def _needed(share: float, service: Sequence[Finding], data: Sequence[Finding]) -> str:
    return f"{_least(share, service)} and {_least(share, data)} ({100 * share:.0f} %)"


def _turns(verdict: str, service: Sequence[Finding], data: Sequence[Finding]) -> str:
    """When the recommendation would be another, in words."""
    if len(service) < LEAST_JUDGED:
        return f"at least {LEAST_JUDGED} service criteria can be judged"
    (buy, buy_data), (some, some_data) = (
        (_least(share, service), _least(share, data)) for share in (BUY_SHARE, CONDITION_SHARE)
    )
    if verdict == "buy":
        return f"fewer than {buy} service or {buy_data} data criteria are met"
    if verdict == "buy only if":
        more = f"at least {buy} service and {buy_data} data criteria are met (buy)"
        return f"{more} or fewer than {some} service or {some_data} data criteria (do not buy)"
    return f"at least {some} service and {some_data} data criteria are met"


_ANSWERS: Final = {
    "recommendation": _recommendation,
    "strengths": _strengths,
    "technical_issues": _technical_issues,
    "actions": _actions,
    "application_plans": _application_plans,
    "expected_returns": _expected_returns,
    "limits": _limits,
}
QUESTIONS: Final = tuple(Question(f"memo.{name}", _TEXT[name], answer) for name, answer in _ANSWERS.items())
