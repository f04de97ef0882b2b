"""Who comes to which agency's notice and when: list membership, contacts in time, and the rows around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkage.lab.population.distort import DAY, month_of
from linkage.lab.population.latent import Latent, mpd_weight
from linkage.lab.population.sampling import Flags, Floats, Ints, choose, fixed_size, geometric, logistic, share
from linkage.lab.population.scenario import Scenario

__all__ = [
    "Contacts",
    "birthdays",
    "draw_contacts",
    "draw_lists",
    "mpd_incidents",
    "passers_by",
    "surround",
    "timeline",
    "years_later",
]

NOT_COUNTED, BELIEVED, CONFIRMED = 0, 1, 2


@dataclass(frozen=True)
class Contacts:
    """Rows of one source to come: position of the person, day since 1970-01-01, tier (0 none, 1 believed, 2 confirmed).

    ``report`` numbers what happened together (several people in one incident); -1 where that is not recorded.
    """

    person: Ints
    day: Ints
    tier: Ints
    report: Ints

    @classmethod
    def of(cls, person: Ints, day: Ints, tier: Ints, report: Ints | None = None) -> Contacts:
        """Make contacts; without ``report``, each stands alone."""
        return cls(person, day, tier, np.full(len(person), -1) if report is None else report)

    def joined(self, *others: Contacts) -> Contacts:
        """Return these and the others, one after the other."""
        parts = (self, *others)
        return Contacts(
            np.concatenate([part.person for part in parts]),
            np.concatenate([part.day for part in parts]),
            np.concatenate([part.tier for part in parts]),
            np.concatenate([part.report for part in parts]),
        )


def bounds(scenario: Scenario) -> tuple[int, int]:
    """Return the first and the last day of the reporting period, as days since 1970-01-01."""
    first, last = np.datetime64(scenario.first_day, "D"), np.datetime64(scenario.last_day, "D")
    return int(first.astype(np.int64)), int(last.astype(np.int64))


def draw_lists(scenario: Scenario, people: Latent, mpd: int, pohsey: int, rng: np.random.Generator) -> dict[str, Flags]:
    """Draw list membership of each true person, MPD first: the later lists lean on the earlier ones.

    Parameters
    ----------
    mpd, pohsey
        Sizes of the two lists whose sizes are known.
    """
    rate, n = scenario.inclusion, len(people.sex)
    juvenile, age = people.age_first < 18, people.age_first
    on_mpd = fixed_size(rng, mpd_weight(scenario, people), mpd)
    young_adult = people.care & (age >= 18) & (age <= 20)
    dcf = np.where(juvenile, rate.dcf_base + rate.dcf_care * people.care, rate.dcf_young_adult)
    dcf = dcf + np.where(people.confirmed, 0.0, rate.dcf_believed) + rate.dcf_mpd * on_mpd
    dcf += rate.dcf_missing * people.missing
    on_dcf = share(rng, n, logistic(dcf)) & (juvenile | young_adult)
    assault = people.history[:, 0] > 0
    medical = rate.medical_base + rate.medical_assault * assault + rate.medical_assault_mpd * (assault & on_mpd)
    medical = medical + rate.medical_mpd * on_mpd + rate.medical_dcf * on_dcf
    medical += rate.medical_juvenile * juvenile + rate.medical_confirmed * people.confirmed
    weight: Floats = np.array(rate.pohsey_by_age)[np.searchsorted([14, 18, 21], age, side="right")]
    weight = weight * np.where(on_dcf, rate.pohsey_dcf, 1.0) * np.where(people.care, rate.pohsey_care, 1.0)
    weight = weight * np.where(on_mpd, rate.pohsey_mpd, 1.0)
    return {
        "mpd": on_mpd,
        "dcf": on_dcf,
        "pohsey": fixed_size(rng, weight, pohsey),
        "medical": share(rng, n, logistic(medical)),
    }


def timeline(scenario: Scenario, people: Latent, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw the days on which each person was trafficked: one in each active year, the others in any of them.

    Returns
    -------
    person, day
        One entry an incident, by person.
    """
    person = np.repeat(np.arange(len(people.sex)), people.incidents)
    nth = np.arange(len(person)) - np.repeat(np.cumsum(people.incidents) - people.incidents, people.incidents)
    active = people.years.sum(axis=1)
    pick = np.where(nth < active[person], nth, np.floor(rng.random(len(person)) * active[person]).astype(np.int64))
    places = np.argsort(~people.years, axis=1, kind="stable")
    year = scenario.first_day.year + places[person, pick]
    start = np.array([np.datetime64(f"{y}-01-01", "D").astype(np.int64) for y in range(1970, 2101)])
    return person, start[year - 1970] + rng.integers(0, 365, len(person))


def mpd_incidents(
    scenario: Scenario, person: Ints, day: Ints, confirmed: Flags, rng: np.random.Generator, first_report: int
) -> Contacts:
    """Turn the incidents of the MPD list into police reports, of which several people may share one.

    Incidents of one month are dealt to as many reports as the scenario's ratio says. A person whose tier is confirmed
    has every first incident confirmed but for the share that the report found believed at first.
    """
    report_count = scenario.report
    rows_expected = report_count.listed * 1.46
    month = month_of(day)
    order = np.lexsort((rng.random(len(day)), month))
    starts = np.flatnonzero(np.diff(month[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    reports = np.maximum(np.ceil(sizes * report_count.incidents / rows_expected), 1).astype(np.int64)
    group = np.repeat(np.arange(len(starts)), sizes)
    within = np.arange(len(order)) - starts[group]
    number = np.empty(len(day), dtype=np.int64)
    number[order] = (np.cumsum(reports) - reports)[group] + within % reports[group]
    twice = np.zeros(len(day), dtype=bool)
    by_person = np.lexsort((number, person))
    twice[by_person[1:]] = (np.diff(person[by_person]) == 0) & (np.diff(number[by_person]) == 0)
    number[twice] = int(reports.sum()) + np.arange(int(twice.sum()))
    _, lead = np.unique(number, return_index=True)
    shared = day[lead][np.searchsorted(number[lead], number)]
    return Contacts(person, shared, _mpd_tiers(scenario, person, shared, confirmed, rng), number + first_report)


def _mpd_tiers(scenario: Scenario, person: Ints, day: Ints, confirmed: Flags, rng: np.random.Generator) -> Ints:
    report = scenario.report
    order = np.lexsort((day, person))
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.diff(person[order]) != 0
    last = np.append(first[1:], True)
    several = report.repeated_in_year + sum(report.years_active[1:])
    later = share(
        rng, int(person.max(initial=0)) + 1, report.confirmed_later * report.complete / (report.confirmed * several)
    )
    switched = later[person[order]] & ~(first & last)
    tier = np.where(share(rng, len(order), 0.1), BELIEVED, CONFIRMED)
    tier[first] = CONFIRMED
    tier[switched & first] = BELIEVED
    tier[switched & last] = CONFIRMED
    tier = np.where(confirmed[person[order]], tier, BELIEVED)
    ordered = np.empty(len(order), dtype=np.int64)
    ordered[order] = tier
    return ordered


def birthdays(people: Latent, first: Ints, rng: np.random.Generator) -> Ints:
    """Draw birth dates that make each person ``age_first`` years old on the day ``first``."""
    return years_later(first, -people.age_first) - rng.integers(1, 364, len(first))


def years_later(day: Ints, years: Ints | int) -> Ints:
    """Move days by whole years; 29 February becomes 1 March where there is none."""
    start = day.astype(DAY).astype("datetime64[M]")
    offset = day - start.astype(DAY).astype(np.int64)
    return np.asarray((start + 12 * np.asarray(years)).astype(DAY).astype(np.int64) + offset, dtype=np.int64)


def draw_contacts(
    scenario: Scenario, people: Latent, lists: dict[str, Flags], first: Ints, birth: Ints, rng: np.random.Generator
) -> dict[str, Contacts]:
    """Draw the contacts of DCF, POHSEY and medical around each person's first incident.

    Reports to DCF come before the 18th birthday (the 21st in out-of-home care); POHSEY's first contact follows the
    DCF report where there is one.
    """
    start, end = bounds(scenario)
    n = len(first)
    anytime = np.full(n, end)
    grown = years_later(birth, np.where(people.age_first < 18, 18, 21)) - 1
    dcf_end = np.minimum(end, grown)
    dcf = np.maximum(_soon(rng, first, -45, 200, dcf_end), start)
    referred = np.where(lists["dcf"], dcf + 3, first)
    pohsey = _soon(rng, referred, 0, np.where(lists["dcf"], 90, 250), anytime)
    medical = np.maximum(_soon(rng, first, -5, 150, anytime), start)
    plan = {
        "dcf": (dcf, dcf_end, 0.30, 300),
        "pohsey": (pohsey, anytime, 0.45, 60),
        "medical": (medical, anytime, 0.30, 240),
    }
    # how often a contact at that agency confirms what is confirmed somewhere
    confirming = {"dcf": 0.65, "pohsey": 0.6, "medical": 0.6}
    found = {}
    for source, (day, limit, again, gap) in plan.items():
        who = np.flatnonzero(lists[source])
        count = 1 + geometric(rng, len(who), again, 7)
        person = np.repeat(who, count)
        nth = np.arange(len(person)) - np.repeat(np.cumsum(count) - count, count)
        days = day[person] + nth * rng.integers(7, gap, len(person))
        kept = (days <= limit[person]) | (nth == 0)
        tier = np.where(people.confirmed[person] & share(rng, len(person), confirming[source]), CONFIRMED, BELIEVED)
        found[source] = Contacts.of(person[kept], days[kept], tier[kept])
    return found


def _soon(rng: np.random.Generator, day: Ints, low: int, high: int | Ints, limit: Ints) -> Ints:
    """Draw a day near another; where it would pass the limit, one between the two."""
    drawn = day + np.floor(low + rng.random(len(day)) * (high - low)).astype(np.int64)
    between = day + np.floor(rng.random(len(day)) * np.maximum(limit - day, 0)).astype(np.int64)
    return np.where(drawn > limit, np.minimum(between, limit), drawn)


def surround(scenario: Scenario, counted: Contacts, listed: Flags, last: Ints, rng: np.random.Generator) -> Contacts:
    """Add the rows that must not be counted: under no tier rule, or outside the reporting period.

    Parameters
    ----------
    listed
        Whether each true person is on this list; rows are added for them and for some who are not, ``(n,)``.
    last
        Last day on which each person can come to this agency; none later than the reporting period's. ``(n,)``.
    """
    start, end = bounds(scenario)
    beside = counted.person[share(rng, len(counted.person), scenario.unscoped_rows)]
    unlisted = np.flatnonzero(~listed & share(rng, len(listed), scenario.unscoped_unlisted))
    person = np.concatenate([beside, unlisted])
    day = start + np.floor(rng.random(len(person)) * (last[person] + 1 - start)).astype(np.int64)
    can = last[person] >= start
    plain = Contacts.of(person[can], day[can], np.zeros(int(can.sum()), dtype=np.int64))
    outside = np.flatnonzero(listed & share(rng, len(listed), scenario.outside_period))
    after = share(rng, len(outside), 0.5) & (last[outside] == end)
    day = np.where(after, end + rng.integers(1, 181, len(outside)), start - rng.integers(1, 181, len(outside)))
    return counted.joined(plain, Contacts.of(outside, day, np.full(len(outside), BELIEVED)))


def passers_by(scenario: Scenario, source: str, size: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Draw the people of an extract who are none of the true persons, for a list of ``size`` persons.

    Returns
    -------
    kind, day, tier
        Kind 0 has a row under no tier rule, 1 is over 25, 2 lives elsewhere; one row each.
    """
    start, end = bounds(scenario)
    shares = (
        scenario.unscoped_people,
        scenario.older if source == "mpd" else 0.0,
        scenario.elsewhere if source in ("dcf", "medical") else 0.0,
    )
    kind = np.repeat(np.arange(3), [round(size * part) for part in shares])
    tier = np.where(kind == 0, NOT_COUNTED, 1 + choose(rng, (0.4, 0.6), len(kind)))
    return kind, rng.integers(start, end + 1, len(kind)), tier
