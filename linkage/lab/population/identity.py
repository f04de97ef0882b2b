"""Who each person is, and what one agency wrote down of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from linkage.lab.population import names, places
from linkage.lab.population.distort import apply, digit_typo, typo, wrong_dates
from linkage.lab.population.sampling import Flags, Ints, Texts, choose, evenly, share
from linkage.lab.population.scenario import ErrorRates, Scenario

__all__ = ["NO_DATE", "Identity", "Record", "agency_records", "draw_identities", "row_records"]

NO_DATE = -(10**6)
"""In place of a birth date that nobody wrote down (days since 1970-01-01)."""

_SUFFIXES = {"": 0.93, "JR": 0.05, "III": 0.015, "SR": 0.005}
_RACES = {"black": 0.5, "white": 0.3, "latino": 0.12, "multiracial": 0.05, "asian": 0.02, "other": 0.01}


@dataclass(frozen=True)
class Identity:
    """True identifiers; arrays ``(n,)``, empty text where a person has no such thing.

    ``street``, ``postal_code`` and ``phone`` are where the person lives first; the ``other_`` ones, and
    ``other_family``, are what they became.
    """

    given: Texts
    middle: Texts
    family: Texts
    other_family: Texts
    suffix: Texts
    alias_given: Texts
    alias_family: Texts
    birth: Ints
    sex: Texts
    race: Texts
    ssn: Texts
    phone: Texts
    other_phone: Texts
    street: Texts
    postal_code: Texts
    other_street: Texts
    other_postal_code: Texts


@dataclass(frozen=True)
class Record:
    """What an agency has on local persons, or on rows; arrays ``(r,)``, empty text = missing.

    ``birth`` is ``NO_DATE`` where missing; ``year_only`` says that only its year was written down. ``second_phone`` is
    a further number. ``aka`` and ``aka_turned`` hold tuples of other names, as "Given Family" and "Family, Given".
    """

    given: Texts
    middle: Texts
    family: Texts
    suffix: Texts
    birth: Ints
    year_only: Flags
    sex: Texts
    race: Texts
    ssn: Texts
    phone: Texts
    second_phone: Texts
    street: Texts
    postal_code: Texts
    aka: Texts
    aka_turned: Texts

    def take(self, rows: Ints) -> Record:
        """Return the records at these positions."""
        return Record(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})


def draw_identities(
    scenario: Scenario, sex: Texts, race: Texts, birth: Ints, care: Flags, known: Ints, rng: np.random.Generator
) -> Identity:
    """Draw the identifiers of persons of given sex, race and birth date (days since 1970-01-01).

    ``known`` is the number of lists that each person is on: what changes in a life is spread evenly over it.
    """
    n, rate = len(sex), scenario.errors
    family = names.surnames(rng, race)
    women = (sex == "female") | (sex == "transgender_female")
    changed = evenly(rng, np.where(women, rate.surname_changed_women, rate.surname_changed_men), known)
    alias, moved, second = (evenly(rng, chance, known) for chance in (rate.has_alias, rate.moved, rate.second_phone))
    street, postal_code = places.addresses(rng, n)
    other_street, other_code = places.addresses(rng, n)
    phone = places.phones(rng, n)
    homes = places.group_homes(rng, max(1, round(scenario.group_homes * n / 1000)))
    at_home = np.flatnonzero(care & share(rng, n, scenario.in_group_home))
    where = rng.integers(0, len(homes[0]), len(at_home))
    street[at_home], postal_code[at_home], phone[at_home] = (part[where] for part in homes)
    _make_siblings(scenario, race, (family, street, postal_code, phone), rng)
    alias_given = np.where(share(rng, n, 0.4), names.street_names(rng, n), names.given_names(rng, sex, race))
    alias_family = np.where(share(rng, n, 0.6), family, names.surnames(rng, race))
    return Identity(
        given=names.given_names(rng, sex, race),
        middle=_where(share(rng, n, 0.85), names.given_names(rng, sex, race)),
        family=family,
        other_family=_where(changed, names.surnames(rng, race)),
        suffix=_where(~women, choose(rng, _SUFFIXES, n)),
        alias_given=_where(alias, alias_given),
        alias_family=_where(alias, alias_family),
        birth=birth,
        sex=sex,
        race=race,
        ssn=places.social_security_numbers(rng, n),
        phone=phone,
        other_phone=_where(second, places.phones(rng, n)),
        street=street,
        postal_code=postal_code,
        other_street=_where(moved, other_street),
        other_postal_code=_where(moved, other_code),
    )


def _where(condition: Flags, values: Texts) -> Texts:
    return np.where(condition, values, "").astype(object)


def _make_siblings(scenario: Scenario, race: Texts, shared: tuple[Texts, ...], rng: np.random.Generator) -> None:
    """Give pairs of people of one race the surname, address and phone of the first of them."""
    chosen = rng.permutation(len(race))[: 2 * round(len(race) * scenario.siblings / 2)]
    chosen = chosen[np.argsort(race[chosen].astype(str), kind="stable")]
    one, other = chosen[0::2], chosen[1::2]
    alike = race[one] == race[other]
    for values in shared:
        values[other[alike]] = values[one[alike]]


def agency_records(
    scenario: Scenario, source: str, who: Identity, person: Ints, known: Ints, rng: np.random.Generator
) -> Record:
    """Draw what one agency wrote down of the persons at these positions, with its own errors; ``(r,)``.

    Two agencies' errors are independent; what makes them agree is the person. ``known`` is the number of lists that
    each of these persons is on: errors are spread evenly over it, so that every draw shows the stated rates.
    """
    rate, n = scenario.errors, len(person)

    def some(chance: float, of: Flags | None = None) -> Flags:
        return evenly(rng, np.where(np.ones(n, dtype=bool) if of is None else of, chance, 0.0), known)

    given, family = who.given[person].copy(), who.family[person].copy()
    renamed = some(0.5, who.other_family[person] != "")
    family[renamed] = who.other_family[person][renamed]
    for i in np.flatnonzero(some(rate.nickname, np.array([name in names.NICKNAMES for name in given]))):
        given[i] = names.nickname_of(given[i], rng.random())
    for i in np.flatnonzero(some(rate.half_double_surname, np.array(["-" in name for name in family]))):
        family[i] = family[i].split("-")[int(rng.random() < 0.5)]
    masked = some(rate.alias_as_name / rate.has_alias, who.alias_given[person] != "")
    given[masked], family[masked] = who.alias_given[person][masked], who.alias_family[person][masked]
    given = apply(given, some(rate.given_typo), typo(rng))
    family = apply(family, some(rate.family_typo), typo(rng))
    aka, turned = _other_names(rate, who, person, renamed, masked, rng)
    street, postal_code = _address(rate, who, person, known, rng)
    birth, year_only = _birth(rate, source, who.birth[person], known, rng)
    phone, second_phone = _phones(rate, who, person, known, rng)
    has_ssn = ~some(rate.ssn_missing) & (source != "pohsey")
    ssn = apply(_where(has_ssn, who.ssn[person]), share(rng, n, rate.ssn_typo), digit_typo(rng))
    return Record(
        given=given,
        middle=_where(~share(rng, n, rate.middle_missing), who.middle[person]),
        family=family,
        suffix=_where(share(rng, n, 0.7), who.suffix[person]),
        birth=birth,
        year_only=year_only,
        sex=_sex(rate, source, who.sex[person], rng),
        race=who.race[person] if source == "mpd" else _race(rate, who.race[person], rng),
        ssn=ssn,
        phone=phone,
        second_phone=second_phone,
        street=street,
        postal_code=postal_code,
        aka=aka,
        aka_turned=turned,
    )


def _other_names(
    rate: ErrorRates, who: Identity, person: Ints, renamed: Flags, masked: Flags, rng: np.random.Generator
) -> tuple[Texts, Texts]:
    """Draw the aliases on file: street names, the surname before or after, the name behind an alias."""
    n = len(person)
    given, family = who.given[person], who.family[person]
    other = np.where(renamed, family, who.other_family[person])
    alias = (who.alias_given[person] != "") & ~masked & share(rng, n, rate.alias_known)
    former = (who.other_family[person] != "") & share(rng, n, 0.35)
    true = masked & share(rng, n, 0.6)
    aka, turned = np.empty(n, dtype=object), np.empty(n, dtype=object)
    aka.fill(())
    turned.fill(())
    for i in np.flatnonzero(alias | former | true):
        found = []
        if alias[i]:
            found.append((who.alias_given[person[i]], who.alias_family[person[i]]))
        if former[i]:
            found.append((given[i], other[i]))
        if true[i]:
            found.append((given[i], family[i]))
        aka[i] = tuple(f"{first} {last}" for first, last in found)
        turned[i] = tuple(f"{last}, {first}" for first, last in found)
    return aka, turned


def _address(
    rate: ErrorRates, who: Identity, person: Ints, known: Ints, rng: np.random.Generator
) -> tuple[Texts, Texts]:
    street, postal_code = who.street[person].copy(), who.postal_code[person].copy()
    later = evenly(rng, np.where(who.other_street[person] != "", 0.5, 0.0), known)
    street[later], postal_code[later] = who.other_street[person][later], who.other_postal_code[person][later]
    elsewhere = np.flatnonzero(evenly(rng, rate.other_address, known))
    street[elsewhere], postal_code[elsewhere] = places.addresses(rng, len(elsewhere))
    return apply(street, evenly(rng, rate.street_typo, known), _street_typo(rng)), postal_code


def _street_typo(rng: np.random.Generator) -> Callable[[str], str]:
    wrong_digit, wrong_letter = digit_typo(rng), typo(rng)

    def change(line: str) -> str:
        words = line.split(" ")
        at = 0 if rng.random() < 0.5 or not words[2].isalpha() else 2
        words[at] = wrong_digit(words[at]) if at == 0 else wrong_letter(words[at])
        return " ".join(words)

    return change


def _birth(rate: ErrorRates, source: str, birth: Ints, known: Ints, rng: np.random.Generator) -> tuple[Ints, Flags]:
    written = wrong_dates(rng, birth, evenly(rng, rate.birth_wrong, known))
    year_only = evenly(rng, rate.birth_year_only if source == "pohsey" else 0.0, known)
    gone = share(rng, len(birth), rate.birth_missing if source in ("dcf", "pohsey") else 0.0)
    return np.where(gone, NO_DATE, written), year_only & ~gone


def _phones(
    rate: ErrorRates, who: Identity, person: Ints, known: Ints, rng: np.random.Generator
) -> tuple[Texts, Texts]:
    n = len(person)
    later = (who.other_phone[person] != "") & share(rng, n, 0.5)
    main = np.where(later, who.other_phone[person], who.phone[person])
    further = np.where(later, who.phone[person], who.other_phone[person])
    filled = ~evenly(rng, rate.phone_missing, known)
    return _where(filled, main), _where(filled & share(rng, n, 0.4), further)


def _sex(rate: ErrorRates, source: str, sex: Texts, rng: np.random.Generator) -> Texts:
    if source == "mpd":
        return sex
    n = len(sex)
    written = sex.copy()
    unseen = share(rng, n, rate.transgender_unseen)
    written[unseen & (sex == "transgender_female")] = "male"
    wrong = share(rng, n, rate.sex_wrong)
    written[wrong] = np.where(sex[wrong] == "female", "male", "female")
    return written


def _race(rate: ErrorRates, race: Texts, rng: np.random.Generator) -> Texts:
    return np.where(share(rng, len(race), rate.race_wrong), choose(rng, _RACES, len(race)), race).astype(object)


def row_records(
    scenario: Scenario,
    records: Record,
    record: Ints,
    first: Flags,
    who: Identity,
    person: Ints,
    rng: np.random.Generator,
) -> Record:
    """Copy each record to its rows; rows after the first vary a little from it.

    Parameters
    ----------
    record, person
        Position of the record, and of the person, of each row, ``(rows,)``.
    first
        Whether the row is the first of its record; those hold what the record holds.
    """
    rate, n = scenario.errors, len(record)
    rows = records.take(record)
    given = apply(rows.given, ~first & share(rng, n, rate.row_name_typo / 2), typo(rng))
    family = apply(rows.family, ~first & share(rng, n, rate.row_name_typo / 2), typo(rng))
    elsewhere = ~first & share(rng, n, rate.row_address) & (who.other_street[person] != "")
    other = elsewhere & (rows.street == who.street[person])
    street = np.where(other, who.other_street[person], np.where(elsewhere, who.street[person], rows.street))
    code = np.where(
        other, who.other_postal_code[person], np.where(elsewhere, who.postal_code[person], rows.postal_code)
    )
    dated = ~first & (rows.birth != NO_DATE) & ~rows.year_only
    blank = [~(~first & share(rng, n, rate.row_blank)) for _ in range(3)]
    return replace(
        rows,
        given=given,
        family=family,
        street=street.astype(object),
        postal_code=code.astype(object),
        birth=wrong_dates(rng, rows.birth, dated & share(rng, n, rate.row_birth)),
        middle=_where(blank[0], rows.middle),
        phone=_where(blank[1], rows.phone),
        ssn=_where(blank[2], rows.ssn),
    )
