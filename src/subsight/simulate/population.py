"""Who and what there is: cells, handsets and subscribers with their truths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from subsight.simulate.operator import APPLICATIONS, Operator

__all__ = ["SEGMENTS", "Cells", "Handsets", "Population", "draw_population", "numbers", "tac_numbers"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

SEGMENTS: Final = ("light", "regular", "heavy")
_SEGMENT_SHARES: Final = (0.50, 0.38, 0.12)
_SEGMENT_VOLUME: Final = (-0.8, 0.0, 1.0)  # added to the logarithm of a session's volume
_SEGMENT_FREQUENCY: Final = (-0.5, 0.0, 0.6)  # added to the logarithm of the number of sessions

# How many subscribers favour each application, in the order of APPLICATIONS.
_FAVOURITE_SHARES: Final = (0.22, 0.12, 0.05, 0.24, 0.18, 0.09, 0.07, 0.03)

_MAKERS: Final = ("Arvexa", "Boreltek", "Corvane", "Drellic", "Kelvora", "Mondrix", "Quillon", "Yondara")
_MODELS: Final = (6, 5, 4, 4, 3, 3, 3, 2)  # models of each maker
_BAD_HANDSETS: Final = 4
_UNKNOWN_HANDSETS: Final = 0.01
_BAD_CELLS: Final = 0.08
_SERIALS: Final = 1_000_000  # serial numbers of one TAC


@dataclass(frozen=True)
class Cells:
    """One element a cell."""

    cell_id: pa.Array
    is_bad: Booleans


@dataclass(frozen=True)
class Handsets:
    """One element a model; the last is a handset that the operator does not know."""

    manufacturer: pa.Array
    name: pa.Array
    is_bad: Booleans


@dataclass(frozen=True)
class Population:
    """One element a subscriber, beside the cells and handsets that `home_cell` and `handset` index.

    `link` is the subscriber's own luck with the network, a z-score; `appetite` the logarithm of the
    volume of a session beside that of a regular user; `experience` the standardised whole.
    """

    cells: Cells
    handsets: Handsets
    msisdn: pa.Array
    imsi: pa.Array
    imei: pa.Array
    segment: Integers
    favourite: Integers
    home_cell: Integers
    handset: Integers
    link: Floats
    appetite: Floats
    session_count: Integers
    experience: Floats
    churn_probability: Floats
    churned: Booleans


def _draw_cells(subscribers: int, rng: np.random.Generator) -> tuple[Cells, Floats]:
    count = max(12, round(200 * (subscribers / 5_000) ** 0.5))
    names = pa.array([f"C{number:05d}{'ABC'[number % 3]}" for number in range(1, count + 1)])
    popularity = rng.lognormal(0, 0.5, count)
    is_bad = np.zeros(count, bool)
    is_bad[rng.choice(count, max(1, round(_BAD_CELLS * count)), replace=False)] = True
    return Cells(names, is_bad), popularity / popularity.sum()


def _draw_handsets(rng: np.random.Generator) -> tuple[Handsets, Floats]:
    makers = [maker for maker, models in zip(_MAKERS, _MODELS, strict=True) for _ in range(models)]
    numbers = [number + 1 for models in _MODELS for number in range(models)]
    order = rng.permutation(len(makers))  # from the most to the least popular
    popularity = 1 / np.arange(1, len(makers) + 1) ** 0.9
    # Bad models are neither the most popular nor so rare that nobody would see the fault.
    is_bad = np.zeros(len(makers) + 1, bool)
    is_bad[1 + rng.choice(14, _BAD_HANDSETS, replace=False)] = True
    handsets = Handsets(
        pa.array([makers[i] for i in order] + [None]),
        pa.array([f"{makers[i]} {makers[i][0]}{10 * numbers[i]}" for i in order] + [None]),
        is_bad,
    )
    shares = (1 - _UNKNOWN_HANDSETS) * popularity / popularity.sum()
    return handsets, np.append(shares, _UNKNOWN_HANDSETS)


def tac_numbers(handset: Integers, variant: Integers) -> Integers:
    """Type allocation codes without their two leading zeros, which mark test equipment."""
    return 100_000 + 100 * handset + variant


def _imei(handset: Integers) -> pa.Array:
    """15 digits: a TAC of the handset, a serial number and the check digit (3GPP TS 23.003, annex B)."""
    number = np.arange(len(handset), dtype=np.int64)
    body = tac_numbers(handset, number // _SERIALS) * _SERIALS + number * 618_033 % _SERIALS
    total = np.zeros_like(body)
    rest = body.copy()
    for place in range(12):
        digit = rest % 10 * (2 if place % 2 == 0 else 1)
        total += digit // 10 + digit % 10
        rest //= 10
    return pc.binary_join_element_wise("00", pa.array(body * 10 + -total % 10).cast(pa.string()), "")


def numbers(prefix: int, digits: int, step: int, count: int) -> pa.Array:
    """Distinct numbers as text, in no visible order: the step shares no factor with the power of ten."""
    size = 10**digits
    return pa.array(prefix * size + np.arange(count, dtype=np.int64) * step % size).cast(pa.string())


def _session_counts(operator: Operator, segment: Integers, rng: np.random.Generator) -> Integers:
    """One session each, and the rest by how often each goes online: exactly `sessions` in all."""
    frequency = np.array(_SEGMENT_FREQUENCY)[segment] * operator.segment_effect
    rate = np.exp(frequency + 0.3 * rng.standard_normal(len(segment)))
    return 1 + rng.multinomial(operator.sessions - operator.subscribers, rate / rate.sum())


def draw_population(operator: Operator, rng: np.random.Generator) -> Population:
    """The cells, handsets and subscribers of an operator."""
    count = operator.subscribers
    cells, cell_shares = _draw_cells(count, rng)
    handsets, handset_shares = _draw_handsets(rng)
    segment = rng.choice(len(SEGMENTS), count, p=_SEGMENT_SHARES)
    favourite = rng.choice(len(APPLICATIONS), count, p=_FAVOURITE_SHARES)
    home_cell = rng.choice(len(cells.is_bad), count, p=cell_shares)
    handset = rng.choice(len(handsets.is_bad), count, p=handset_shares)
    link = rng.standard_normal(count)
    appetite = np.array(_SEGMENT_VOLUME)[segment] * operator.segment_effect
    appetite = appetite + 0.25 * rng.standard_normal(count)
    felt = (
        0.7 * link
        - 1.5 * operator.handset_effect * handsets.is_bad[handset]
        - 1.5 * operator.cell_effect * cells.is_bad[home_cell]
    )
    experience = (felt - felt.mean()) / felt.std()
    churn_probability = 1 / (1 + np.exp(2.2 + 0.9 * operator.experience_effect * experience))
    churned = rng.random(count) < churn_probability
    return Population(
        cells=cells, handsets=handsets,
        msisdn=numbers(999, 9, 611_953_061, count),  # no country has code 999
        imsi=numbers(99970, 10, 7_919_313_907, count),  # ITU-T E.212: MCC 999 is for private networks
        imei=_imei(handset),
        segment=segment, favourite=favourite, home_cell=home_cell, handset=handset,
        link=link, appetite=appetite,
        session_count=_session_counts(operator, segment, rng),
        experience=experience, churn_probability=churn_probability, churned=churned,
    )  # fmt: skip
