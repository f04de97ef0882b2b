"""The true persons: who they are and when they were trafficked, whether anybody recorded it or not.

The report's tables hold for the people on the MPD list, not for all. So persons are proposed as the report has them and
kept with a chance in inverse proportion to their weight of being on the MPD list: drawing the list by that weight then
gives the report's shares back, while the persons whom MPD missed are older, less often confirmed, less often in care.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from linkage.contract.vocabulary import HISTORY_KINDS
from linkage.lab.population.sampling import Flags, Floats, Ints, Texts, choose, geometric, share
from linkage.lab.population.scenario import Report, Scenario

__all__ = ["Latent", "draw_latent", "mpd_weight"]


@dataclass(frozen=True)
class Latent:
    """What is true of each person before any agency looks; arrays ``(n,)`` unless said.

    ``years`` is ``(n, 4)``: whether trafficked in that year of the period. ``history`` is ``(n, 5)`` in the order of
    ``HISTORY_KINDS``, positions in ``ROLES``. ``trauma_age`` and ``missing_age`` are -1 where nothing happened.
    """

    confirmed: Flags
    sex: Texts
    race: Texts
    age_first: Ints
    years: Flags
    incidents: Ints
    history: Ints
    missing: Flags
    missing_reports: Ints
    missing_age: Ints
    missing_as_juvenile: Flags
    missing_from_care: Flags
    care: Flags
    trauma_age: Ints

    def take(self, rows: Ints | Flags) -> Latent:
        """Return the persons at these positions."""
        return Latent(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})


def draw_latent(scenario: Scenario, size: int, rng: np.random.Generator) -> Latent:
    """Draw ``size`` true persons by rejection (see the module's head)."""
    least = 0.9 * scenario.inclusion.mpd_believed
    kept: list[Latent] = []
    count = 0
    while count < size:
        proposed = _propose(scenario, 2 * (size - count) + 50, rng)
        weight = mpd_weight(scenario, proposed)
        accepted = proposed.take(share(rng, len(weight), np.minimum(least / weight, 1.0)))
        kept.append(accepted)
        count += len(accepted.sex)
    joined = {entry.name: np.concatenate([getattr(part, entry.name) for part in kept]) for entry in fields(Latent)}
    return Latent(**joined).take(np.arange(size))


def mpd_weight(scenario: Scenario, people: Latent) -> Floats:
    """Return each person's relative weight of being on the MPD list; ``(n,)``."""
    rate = scenario.inclusion
    weight = np.where(people.confirmed, 1.0, rate.mpd_believed)
    weight = weight * np.where(people.age_first < 18, rate.mpd_juvenile, 1.0)
    weight *= np.where(people.care, rate.mpd_care, 1.0) * np.where(people.missing, rate.mpd_missing, 1.0)
    return np.asarray(weight * (1.0 + rate.mpd_incident * (np.minimum(people.incidents, 4) - 1)), dtype=np.float64)


def _propose(scenario: Scenario, size: int, rng: np.random.Generator) -> Latent:
    report = scenario.report
    confirmed = share(rng, size, report.confirmed / (report.confirmed + report.believed))
    years, incidents = _timeline(report, size, rng)
    age = _ages(report, size, rng)
    span = 3 - np.argmax(years[:, ::-1], axis=1) - np.argmax(years, axis=1)
    age = np.minimum(age, np.where(incidents > 1, 24 - span, 25))  # nobody turns 26 before the last incident
    missing = share(rng, size, _by_tier(confirmed, report.missing, report))
    from_care = missing & share(
        rng,
        size,
        np.where(
            confirmed,
            report.missing_from_care[0] / report.missing[0],
            report.missing_from_care[1] / report.missing[1],
        ),
    )
    juvenile_missing = missing & share(rng, size, report.missing_as_juvenile / sum(report.missing))
    missing_age = np.where(juvenile_missing, choose(rng, (0,) * 10 + (2, 4, 8, 14, 20, 22, 18, 12), size), 18)
    reports = 1 + np.minimum(
        np.floor(rng.lognormal(0.75, 1.05, size)).astype(np.int64), report.most_missing_reports - 1
    )
    return Latent(
        confirmed=confirmed,
        sex=_coded(rng, confirmed, report.sex),
        race=_coded(rng, confirmed, report.race),
        age_first=age,
        years=years,
        incidents=incidents,
        history=_history(report, confirmed, age < 18, rng),
        missing=missing,
        missing_reports=np.where(missing, reports, 0),
        missing_age=np.where(missing, missing_age, -1),
        missing_as_juvenile=juvenile_missing,
        missing_from_care=from_care,
        care=from_care | share(rng, size, scenario.care),
        trauma_age=_trauma_ages(report, age, rng),
    )


def _by_tier(confirmed: Flags, counts: tuple[int, int], report: Report) -> Floats:
    return np.where(confirmed, counts[0] / report.confirmed, counts[1] / report.believed)


def _coded(rng: np.random.Generator, confirmed: Flags, table: object) -> Texts:
    drawn = np.empty(len(confirmed), dtype=object)
    for tier, at in (("confirmed", confirmed), ("believed", ~confirmed)):
        drawn[at] = choose(rng, table[tier], int(at.sum()))  # type: ignore[index]
    return drawn


def _timeline(report: Report, size: int, rng: np.random.Generator) -> tuple[Flags, Ints]:
    """Draw the years with an incident and the number of incidents."""
    count = 1 + choose(rng, report.years_active, size)
    keys = np.log([0.22, 0.24, 0.27, 0.27]) + rng.gumbel(size=(size, 4))
    years = np.argsort(np.argsort(-keys, axis=1), axis=1) < count[:, None]
    once = share(rng, size, report.repeated_in_year / report.years_active[0])
    again = np.where(count == 1, np.where(once, 1 + geometric(rng, size, 0.45, 6), 0), geometric(rng, size, 0.45, 6))
    return years, np.minimum(count + again, report.most_incidents)


def _ages(report: Report, size: int, rng: np.random.Generator) -> Ints:
    """Draw the age at the first incident, falling off within each of the report's groups."""
    group = choose(rng, report.age_groups, size)
    child: Ints = 11 + choose(rng, (1, 3, 9), size)
    youth = 14 + choose(rng, (15, 27, 30, 28), size)
    adult = 18 + choose(rng, (22, 19, 16, 13, 10, 8, 7, 5), size)
    return np.asarray(np.select([group == 0, group == 1], [child, youth], adult), dtype=np.int64)


def _trauma_ages(report: Report, age: Ints, rng: np.random.Generator) -> Ints:
    """Draw the age at the first sign of trauma: by 15 for the printed share, never after the first incident."""
    sure = age <= 15
    rest = (report.trauma_by_15 - sure.mean()) / max(1.0 - sure.mean(), 1e-9)
    early = sure | share(rng, len(age), max(rest, 0.0))
    low = np.minimum(age, 9 + choose(rng, (1, 1, 2, 3, 4, 5, 6), len(age)))
    high = np.minimum(age, 16 + choose(rng, (5, 4, 3, 2, 1), len(age)))
    return np.asarray(np.where(early, low, high), dtype=np.int64)


def _history(report: Report, confirmed: Flags, juvenile: Flags, rng: np.random.Generator) -> Ints:
    """Draw roles in earlier incidents so that each kind and 'any' keep their printed shares.

    Whether there is any history comes first; the kinds are then independent draws of which at least one must hold.
    """
    size = len(confirmed)
    any_history = share(rng, size, report.any_history / report.complete)
    found = np.zeros((size, len(HISTORY_KINDS)), dtype=np.bool_)
    for tier in (True, False):
        for young in (True, False):
            at = np.flatnonzero((confirmed == tier) & (juvenile == young) & any_history)
            wanted = np.array([_history_share(report, kind, tier, young) for kind in HISTORY_KINDS])
            chances = _at_least_one(np.minimum(wanted * report.complete / report.any_history, 0.97))
            while len(at):
                found[at] = rng.random((len(at), len(HISTORY_KINDS))) < chances
                at = at[~found[at].any(axis=1)]
    roles = np.zeros((size, len(HISTORY_KINDS)), dtype=np.int64)
    for k, kind in enumerate(HISTORY_KINDS):
        # positions 1.. of ROLES are the report's columns: victim, suspect, witness, multiple
        roles[:, k] = np.where(found[:, k], 1 + choose(rng, report.roles[kind], size), 0)
    return roles


def _history_share(report: Report, kind: str, confirmed: bool, juvenile: bool) -> float:
    both = report.history[kind]
    by_tier = both[0] / report.confirmed if confirmed else both[1] / report.believed
    if kind not in report.history_by_age:
        return by_tier
    young = report.age_groups[0] + report.age_groups[1]
    count = report.history_by_age[kind][0 if juvenile else 1]
    by_age = count / (young if juvenile else report.age_groups[2])
    return by_tier * by_age / (sum(both) / report.complete)


def _at_least_one(wanted: Floats) -> Floats:
    """Return chances q with q / (1 - prod(1 - q)) = wanted, by fixed-point steps."""
    chances = wanted.copy()
    for _ in range(400):
        chances = wanted * (1.0 - np.prod(1.0 - chances))
    return chances
