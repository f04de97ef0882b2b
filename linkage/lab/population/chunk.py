"""One chunk of a population: true persons, passers-by, their records, their rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from linkage.contract.vocabulary import HISTORY_KINDS, ROLES
from linkage.lab.population import contacts as when
from linkage.lab.population.contacts import Contacts
from linkage.lab.population.distort import DAY
from linkage.lab.population.evidence import draw_evidence
from linkage.lab.population.identity import NO_DATE, Identity, Record, agency_records, draw_identities, row_records
from linkage.lab.population.latent import Latent, draw_latent
from linkage.lab.population.layouts import INDICATORS, LAYOUTS, PATHS
from linkage.lab.population.sampling import Flags, Ints, Texts, choose, share
from linkage.lab.population.scenario import SOURCES, Scenario

__all__ = ["Chunk", "Counters", "draw_chunk"]

_NUMBERS = 9_999_999_967  # a prime: multiplying by anything modulo it gives local numbers that never meet
_STRIDES = {"mpd": 6_180_339_887, "dcf": 2_718_281_828, "pohsey": 3_141_592_653, "medical": 1_414_213_562}
_ELSEWHERE = {"West Allis": 0.4, "Wauwatosa": 0.3, "Racine": 0.2, "Waukesha": 0.1}


@dataclass(frozen=True)
class Counters:
    """How many persons, local numbers and report numbers earlier chunks have used."""

    person: int = 0
    local: dict[str, int] = field(default_factory=dict)
    report: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """What one chunk adds to each file."""

    extracts: dict[str, pl.DataFrame]
    persons: pl.DataFrame
    records: pl.DataFrame
    used_locals: dict[str, int]


@dataclass(frozen=True)
class _Everyone:
    """True persons first, then the passers-by of each source."""

    scenario: Scenario
    latent: Latent
    who: Identity
    city: Texts
    counted: Flags
    lists: dict[str, Flags]
    lacks: Ints


def draw_chunk(
    scenario: Scenario, size: int, quota: dict[str, int], counters: Counters, rng: np.random.Generator
) -> Chunk:
    """Draw ``size`` true persons and everything that the agencies hold on them.

    Parameters
    ----------
    quota
        Sizes in this chunk of ``mpd``, of its ``complete`` cases, and of ``pohsey``.
    """
    true = draw_latent(scenario, size, rng)
    lists = when.draw_lists(scenario, true, quota["mpd"], quota["pohsey"], rng)
    person, day = when.timeline(scenario, true, rng)
    on_mpd = lists["mpd"][person]
    police = when.mpd_incidents(
        scenario, person[on_mpd], day[on_mpd], true.confirmed, rng, counters.report.get("mpd", 0)
    )
    day[on_mpd] = police.day
    first = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first, person, day)
    birth = when.birthdays(true, first, rng)
    found = {"mpd": police, **when.draw_contacts(scenario, true, lists, first, birth, rng)}
    last = {source: np.full(size, when.bounds(scenario)[1]) for source in SOURCES}
    last["dcf"] = np.minimum(last["dcf"], when.years_later(birth, 18) - 1)
    found = {source: when.surround(scenario, found[source], lists[source], last[source], rng) for source in SOURCES}
    everyone, found = _with_passers_by(scenario, true, birth, lists, found, rng)
    everyone = replace(everyone, lacks=_lacking(lists["mpd"], quota["complete"], len(everyone.counted), rng))
    extracts, records, used = {}, [], {}
    for source in SOURCES:
        raw, local = _extract(everyone, source, found[source], counters, rng)
        extracts[source], used[source] = raw, len(local)
        records.append(local)
    persons = _persons(everyone, first, counters)
    return Chunk(extracts, persons, pl.concat(records), used)


def _with_passers_by(
    scenario: Scenario,
    true: Latent,
    birth: Ints,
    lists: dict[str, Flags],
    found: dict[str, Contacts],
    rng: np.random.Generator,
) -> tuple[_Everyone, dict[str, Contacts]]:
    """Add the people of the extracts who are not counted, and draw everybody's identifiers."""
    size = len(birth)
    drawn = {s: when.passers_by(scenario, s, int(lists[s].sum()), rng) for s in SOURCES}
    kind = np.concatenate([drawn[s][0] for s in SOURCES])
    day = np.concatenate([drawn[s][1] for s in SOURCES])
    others = draw_latent(scenario, max(len(kind), 1), rng).take(np.arange(len(kind)))
    age = np.where(kind == 1, rng.integers(27, 45, len(kind)), others.age_first)
    child = np.repeat([s == "dcf" for s in SOURCES], [len(drawn[s][0]) for s in SOURCES])
    age = np.where(child, np.minimum(age, 17), age)
    other_birth = when.years_later(day, -age) - rng.integers(1, 364, len(kind))
    latent = Latent(
        **{name: np.concatenate([getattr(true, name), getattr(others, name)]) for name in Latent.__dataclass_fields__}
    )
    at, gathered = size, {}
    for source in SOURCES:
        count = len(drawn[source][0])
        extra = Contacts.of(np.arange(at, at + count), drawn[source][1], drawn[source][2])
        gathered[source] = found[source].joined(extra)
        at += count
    everyone = len(latent.sex)
    city = np.full(everyone, "Milwaukee", dtype=object)
    away = np.flatnonzero(kind == 2) + size
    city[away] = choose(rng, _ELSEWHERE, len(away))
    listed = {s: np.append(lists[s], np.zeros(everyone - size, dtype=np.bool_)) for s in SOURCES}
    known = np.sum([listed[s] for s in SOURCES], axis=0)
    born = np.concatenate([birth, other_birth])
    who = draw_identities(scenario, latent.sex, latent.race, born, latent.care, known, rng)
    counted = np.arange(everyone) < size
    return _Everyone(scenario, latent, who, city, counted, listed, np.zeros(everyone, dtype=np.int64)), gathered


_LACKS = {1: 0.45, 2: 0.30, 4: 0.08, 8: 0.07, 3: 0.10}
"""What incomplete MPD cases lack: 1 race, 2 birth date, 4 sex, 8 a name; sums are combinations."""


def _lacking(on_mpd: Flags, complete: int, everyone: int, rng: np.random.Generator) -> Ints:
    listed = rng.permutation(np.flatnonzero(on_mpd))
    lacks = np.zeros(everyone, dtype=np.int64)
    incomplete = listed[complete:]
    lacks[incomplete] = choose(rng, {str(k): v for k, v in _LACKS.items()}, len(incomplete)).astype(np.int64)
    return lacks


def _extract(
    everyone: _Everyone, source: str, found: Contacts, counters: Counters, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw one agency's records and rows. Returns the raw extract and the truth about its records."""
    order = np.lexsort((rng.random(len(found.day)), found.day, found.person))
    person, day, tier, report = (values[order] for values in (found.person, found.day, found.tier, found.report))
    copy = _second_numbers(everyone.scenario, person, tier, rng)
    owner, record = np.unique(person * 2 + copy, return_inverse=True)
    owner = owner // 2
    known = np.sum([everyone.lists[s] for s in SOURCES], axis=0)[owner]
    records = agency_records(everyone.scenario, source, everyone.who, owner, known, rng)
    if source == "mpd":
        records = _incomplete(records, everyone.lacks[owner], rng)
    first = np.zeros(len(person), dtype=bool)
    first[np.unique(record, return_index=True)[1]] = True
    rows = row_records(everyone.scenario, records, record, first, everyone.who, person, rng)
    local = _local_numbers(source, len(owner), counters, rng)
    frame = _frame(everyone, source, rows, record, person, day, tier, rng)
    frame = frame.with_columns(
        local=pl.Series(local[record].tolist(), dtype=pl.String),
        report=pl.Series(_report_numbers(report, counters.report.get(source, 0))),
    )
    if source == "mpd":
        frame = frame.with_columns(offenses=_offenses(everyone.scenario, frame["report"].to_numpy(), rng))
    by_day = np.lexsort((rng.random(len(day)), day))
    raw = LAYOUTS[source](frame[by_day], rng)
    start, end = when.bounds(everyone.scenario)
    counts = (tier > 0) & (day >= start) & (day <= end)
    truth = pl.DataFrame(
        {
            "source": pl.Series([source] * len(owner), dtype=pl.String),
            "local_id": pl.Series(_as_written(source, local), dtype=pl.String),
            "person": pl.Series(owner + counters.person, dtype=pl.UInt32),
            "in_scope": np.bincount(record, weights=tier > 0, minlength=len(owner)) > 0,
            "in_period": np.bincount(record, weights=counts, minlength=len(owner)) > 0,
        }
    )
    return raw, truth


def _second_numbers(scenario: Scenario, person: Ints, tier: Ints, rng: np.random.Generator) -> Ints:
    """Say of each row (sorted by person) whether it stands under the person's second local number."""
    everyone = np.unique(person)
    counted = np.bincount(person, weights=tier > 0)
    several = np.flatnonzero(counted > 1)
    wanted = min(len(several), rng.poisson(scenario.errors.two_numbers * len(everyone)))
    split = np.zeros(len(counted), dtype=bool)
    split[rng.permutation(several)[:wanted]] = True
    nth: Ints = np.cumsum(tier > 0) - np.append(0, np.cumsum(counted))[person].astype(np.int64)
    return np.asarray((split[person] & (nth >= 2)).astype(np.int64))


def _incomplete(records: Record, lacks: Ints, rng: np.random.Generator) -> Record:
    nameless = (lacks & 8) > 0
    family_too = nameless & share(rng, len(lacks), 0.4)
    return replace(
        records,
        race=np.where((lacks & 1) > 0, "", records.race).astype(object),
        birth=np.where((lacks & 2) > 0, NO_DATE, records.birth),
        sex=np.where((lacks & 4) > 0, "", records.sex).astype(object),
        given=np.where(nameless, "", records.given).astype(object),
        family=np.where(family_too, "", records.family).astype(object),
    )


def _local_numbers(source: str, size: int, counters: Counters, rng: np.random.Generator) -> Texts:
    """Deal local numbers that tell nothing about the order of persons."""
    used = counters.local.get(source, 0)
    numbers = [(int(i) + 1) * _STRIDES[source] % _NUMBERS for i in rng.permutation(size) + used]
    return np.array([f"{number:010d}" for number in numbers], dtype=object)


def _as_written(source: str, local: Texts) -> list[str]:
    prefix = {"mpd": "P", "pohsey": "YP-"}.get(source, "")
    return [prefix + number for number in local]


def _report_numbers(report: Ints, used: int) -> Ints:
    """Give rows that stand alone numbers after those that share a report."""
    alone = report < 0
    numbered = report.copy()
    numbered[alone] = max(int(report.max(initial=-1)) + 1, used) + np.arange(int(alone.sum()))
    return numbered


def _frame(
    everyone: _Everyone,
    source: str,
    rows: Record,
    record: Ints,
    person: Ints,
    day: Ints,
    tier: Ints,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Put what a layout needs into one frame, a row a contact, in no agency's format yet."""
    latent = everyone.latent
    youngest, oldest = _ages(day, rows, record)
    texts = (
        "given",
        "middle",
        "family",
        "suffix",
        "sex",
        "race",
        "ssn",
        "phone",
        "second_phone",
        "street",
        "postal_code",
    )
    flags = ("missing", "missing_as_juvenile", "missing_from_care", "care")
    numbers = ("missing_reports", "missing_age", "trauma_age")
    lost = share(rng, len(day), {"mpd": 0.08, "pohsey": 0.20}.get(source, 0.05))
    columns: dict[str, pl.Series] = {name: pl.Series(getattr(rows, name).tolist(), dtype=pl.String) for name in texts}
    for name in ("street", "postal_code"):
        columns[name] = columns[name].set(pl.Series(lost), "")
    columns["day"] = pl.Series(day.astype(np.int32)).cast(pl.Date)
    birth = pl.Series(rows.birth.astype(np.int32))
    columns["birth"] = birth.set(birth == NO_DATE, None).cast(pl.Date)
    columns["year_only"] = pl.Series(rows.year_only)
    columns["dcf"] = pl.Series(everyone.lists["dcf"][person])
    columns["city"] = pl.Series(everyone.city[person].tolist(), dtype=pl.String)
    for name in ("aka", "aka_turned"):
        columns[name] = pl.Series([list(names) for names in getattr(rows, name)], dtype=pl.List(pl.String))
    columns |= {name: pl.Series(getattr(latent, name)[person]) for name in (*flags, *numbers)}
    columns |= {f"history_{kind}": pl.Series(latent.history[person, k]) for k, kind in enumerate(HISTORY_KINDS)}
    columns |= {"tier": pl.Series(tier), "youngest": pl.Series(youngest), "oldest": pl.Series(oldest)}
    if INDICATORS[source]:
        said = draw_evidence(tier, youngest, oldest, INDICATORS[source], rng, paths=PATHS[source])
        for name in ("disclosed", "determined", "commercial", "caregiver"):
            columns[name] = pl.Series(getattr(said, name))
        columns |= {f"indicator_{i}": pl.Series(said.indicators[:, i]) for i in range(INDICATORS[source])}
    return pl.DataFrame(columns)


def _ages(day: Ints, rows: Record, record: Ints) -> tuple[Ints, Ints]:
    """Bound the age at the contact by every birth date in the person's rows; -1 where none is known in full."""
    known = (rows.birth != NO_DATE) & ~rows.year_only
    earliest, latest = (np.full(int(record.max(initial=-1)) + 1, fill) for fill in (-NO_DATE, NO_DATE))
    np.minimum.at(earliest, record[known], rows.birth[known])
    np.maximum.at(latest, record[known], rows.birth[known])
    youngest, oldest = (_completed_years(np.where(known, b[record], day), day) for b in (latest, earliest))
    return np.where(known, youngest, -1), np.where(known, oldest, -1)


def _completed_years(birth: Ints, day: Ints) -> Ints:
    born, now = (days.astype(DAY).astype("datetime64[M]") for days in (birth, day))
    early = (day - now.astype(DAY).astype(np.int64)) < (birth - born.astype(DAY).astype(np.int64))
    return np.asarray((now.astype(np.int64) - born.astype(np.int64) - early) // 12, dtype=np.int64)


def _offenses(scenario: Scenario, report: Ints, rng: np.random.Generator) -> pl.Series:
    """Draw the offence categories of each report, at least one, with the printed shares."""
    report_table = scenario.report
    number, at = np.unique(report, return_inverse=True)
    names = list(report_table.categories)
    wanted = np.array([report_table.categories[name] / report_table.incidents for name in names])
    chances = wanted.copy()
    for _ in range(200):
        chances = wanted * (1.0 - np.prod(1.0 - chances))
    held = rng.random((len(number), len(names))) < chances
    while (empty := ~held.any(axis=1)).any():
        held[empty] = rng.random((int(empty.sum()), len(names))) < chances
    words = np.array([";".join(n.upper() for n, h in zip(names, row, strict=True) if h) for row in held], dtype=object)
    return pl.Series(words[at].tolist(), dtype=pl.String)


def _persons(everyone: _Everyone, first: Ints, counters: Counters) -> pl.DataFrame:
    """Return the truth about everybody in the chunk, a row a person."""
    latent, who, n = everyone.latent, everyone.who, len(everyone.counted)
    first_day = np.append(first, np.full(n - len(first), NO_DATE))
    days = pl.Series(first_day.astype(np.int32))
    columns: dict[str, pl.Series] = {
        "person": pl.Series(np.arange(n) + counters.person, dtype=pl.UInt32),
        "counted": pl.Series(everyone.counted),
        **{s: pl.Series(everyone.lists[s]) for s in SOURCES},
        "mpd_complete": pl.Series(everyone.lists["mpd"] & (everyone.lacks == 0)),
        "tier": pl.Series(np.where(latent.confirmed, "confirmed", "believed").tolist()),
        "age_first_incident": pl.Series(latent.age_first, dtype=pl.Int16),
        "first_incident": days.set(days == NO_DATE, None).cast(pl.Date),
        "birth_date": pl.Series(who.birth.astype(np.int32)).cast(pl.Date),
        "incidents": pl.Series(latent.incidents, dtype=pl.Int16),
    }
    year = everyone.scenario.first_day.year
    columns |= {f"active_{year + k}": pl.Series(latent.years[:, k]) for k in range(latent.years.shape[1])}
    roles = np.array(ROLES, dtype=object)
    columns |= {
        f"history_{kind}": pl.Series(roles[latent.history[:, k]].tolist()) for k, kind in enumerate(HISTORY_KINDS)
    }
    for name in ("missing", "missing_as_juvenile", "missing_from_care", "care"):
        columns[name] = pl.Series(getattr(latent, name))
    for name in ("missing_reports", "missing_age", "trauma_age"):
        columns[name] = pl.Series(getattr(latent, name), dtype=pl.Int16)
    for name in (
        "sex",
        "race",
        "given",
        "middle",
        "family",
        "other_family",
        "suffix",
        "phone",
        "ssn",
        "street",
        "postal_code",
    ):
        columns[name] = pl.Series(getattr(who, name).tolist(), dtype=pl.String)
    return pl.DataFrame(columns)
