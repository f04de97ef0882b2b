"""What a synthetic population is made to look like, and at what rates its records go wrong.

Scenario ``milwaukee``. The list of police records (MPD) is calibrated to the tables that the 2013-2016 baseline report
prints; the other three lists are of plausible size. Everything else is an assumption, stated here and nowhere else.

Between two agencies' records of one person (first row of each, both filled, compared without case, accents and
punctuation), measured over 24,000 pairs of a large draw; a draw of 1,100 persons has some 440 pairs and stays within
a few points of them, since errors are spread evenly over people by the number of lists that they are on:

==================================================  ==========  =====================================================
what differs or is missing                          share       comes from
==================================================  ==========  =====================================================
given or family name                                19%         typo, nickname, alias, another surname, half a double
                                                                surname
surname of women                                    12%         12% of women changed it, an agency has either; typos
birth date (both full)                              9.5%        4.9% a record: day and month swapped, only the year
                                                                kept (1 January), the year one off, the day misread
street address (both filled)                        34%         53% of people moved, 4% of records elsewhere, typos
phone missing                                       32%         of records; two people in five have two numbers
SSN missing                                         64%         of records; never known to POHSEY
POHSEY birth date                                   20%, 2%     only a birth year, nothing
sex, race (not MPD)                                 0.5%, 6%    coded otherwise; 30% of transgender people as their
                                                                sex at birth
two local numbers at one agency                     0.7%        records of one person that the agency did not join
a later row of a person, against the first          1.5-10%     birth date 1.5%, name typo 3%, other address or a
                                                                blank 10%
==================================================  ==========  =====================================================

Of MPD's 340, 109 lack something: 60 the race, 44 the birth date, 9 the sex, 8 a name (some two of these).

Who is on which list, of 1,100 persons: MPD exactly 340 (231 of them complete) with a chance that grows with a
confirmed tier, youth, care, missing reports and incidents; DCF about 290, almost all juveniles, more often from care
and where MPD is involved; POHSEY exactly 143, two and a half times as likely on referral from DCF; medical about 155,
more likely with a history of sexual assault and where MPD is involved. About 500 persons are on no list.

Around them, in each extract: rows under no tier rule (15% beside a counted row, and people who have only such rows, a
quarter of the list), rows outside the reporting period (4%), people over 25 (2% of MPD) and people of other places
(2% of DCF and medical). SSNs are from ranges that are never issued, phone numbers from ranges that cannot be dialled.

Scenarios ``loose`` and ``tight`` are the same but for who is on which list: nothing is known of how lists depend on
each other in truth, so estimates are tried on less and on more of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from linkage.errors import ContractError

__all__ = [
    "LOOSE",
    "MILWAUKEE",
    "SCENARIOS",
    "SOURCES",
    "TIGHT",
    "ErrorRates",
    "Inclusion",
    "Report",
    "Scenario",
    "find_scenario",
]

SOURCES = ("mpd", "dcf", "pohsey", "medical")


@dataclass(frozen=True)
class Report:
    """Counts of the baseline report, as printed, of its complete MPD cases; the draw uses their shares.

    Attributes
    ----------
    listed, complete
        People identified by MPD, and those of them with complete name, birth date, sex, race, date and tier.
    confirmed, believed
        People by tier; ``confirmed_later`` are confirmed after an earlier incident that was only believed.
    sex, race
        ``{tier: {value: count}}``.
    age_groups
        Age at the first incident: under 14, 14 to 17, 18 to 25.
    years_active
        People by the number of calendar years with an incident (the printed margins: 31 in more than one year, one
        in all four, 266 person-years).
    repeated_in_year
        People with several incidents, all in one year.
    history, history_by_age
        ``{kind: (confirmed, believed)}`` and ``{kind: (juvenile, adult)}``; drug is not printed by age.
    roles
        ``{kind: (victim, suspect, witness, multiple)}``; the roles in drug incidents are an assumption.
    missing, missing_from_care
        Ever reported missing, and from out-of-home care, ``(confirmed, believed)``.
    categories
        Offence categories of the incidents; one incident can stand in several.
    """

    listed: int = 340
    complete: int = 231
    incidents: int = 315
    found_by_word_search: int = 275
    confirmed: int = 187
    believed: int = 44
    confirmed_later: int = 6
    sex: Mapping[str, Mapping[str, int]] = field(
        default_factory=lambda: {
            "confirmed": {"female": 182, "male": 3, "transgender_female": 2},
            "believed": {"female": 43, "male": 1},
        }
    )
    race: Mapping[str, Mapping[str, int]] = field(
        default_factory=lambda: {
            "confirmed": {"black": 118, "white": 45, "latino": 15, "multiracial": 5, "asian": 4},
            "believed": {"black": 31, "white": 11, "latino": 2},
        }
    )
    age_groups: tuple[int, int, int] = (13, 113, 105)
    years_active: tuple[int, int, int, int] = (200, 28, 2, 1)
    repeated_in_year: int = 29
    most_incidents: int = 8
    any_history: int = 199
    history: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {
            "sexual_assault": (58, 5),
            "battery_or_dv": (46, 11),
            "child_abuse": (28, 3),
            "drug": (36, 7),
            "other": (111, 18),
        }
    )
    history_by_age: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {
            "sexual_assault": (45, 18),
            "battery_or_dv": (20, 37),
            "child_abuse": (24, 7),
            "other": (71, 58),
        }
    )
    roles: Mapping[str, tuple[int, int, int, int]] = field(
        default_factory=lambda: {
            "sexual_assault": (48, 3, 5, 7),
            "battery_or_dv": (36, 5, 8, 8),
            "child_abuse": (27, 2, 2, 0),
            "drug": (2, 30, 5, 6),
            "other": (18, 30, 17, 64),
        }
    )
    missing: tuple[int, int] = (120, 16)
    missing_as_juvenile: int = 130
    missing_from_care: tuple[int, int] = (74, 6)
    most_missing_reports: int = 31
    trauma_by_15: float = 0.54
    categories: Mapping[str, int] = field(
        default_factory=lambda: {
            "sex_trafficking": 82,
            "sexual_exploitation": 84,
            "sexual_assault": 81,
            "interpersonal_violence": 55,
            "prostitution": 56,
            "other": 14,
            "no_crime": 67,
        }
    )


@dataclass(frozen=True)
class Inclusion:
    """Who is on which list. MPD and POHSEY are of fixed size; their entries are relative weights.

    DCF and medical entries are log-odds. ``dcf_young_adult`` holds for people of 18 to 20 in out-of-home care; nobody
    else over 17 can be reported to DCF.
    """

    mpd_believed: float = 0.65
    mpd_juvenile: float = 1.25
    mpd_care: float = 1.25
    mpd_missing: float = 1.15
    mpd_incident: float = 0.30
    dcf_base: float = -0.6
    dcf_young_adult: float = -1.6
    dcf_care: float = 0.9
    dcf_believed: float = -0.3
    dcf_mpd: float = 0.5
    dcf_missing: float = 0.3
    medical_base: float = -2.85
    medical_assault: float = 0.8
    medical_assault_mpd: float = 0.5
    medical_mpd: float = 0.6
    medical_dcf: float = 0.3
    medical_juvenile: float = 0.3
    medical_confirmed: float = 0.3
    pohsey_listed: int = 143
    pohsey_by_age: tuple[float, float, float, float] = (0.7, 1.0, 0.35, 0.06)
    pohsey_dcf: float = 2.5
    pohsey_care: float = 1.4
    pohsey_mpd: float = 1.2


@dataclass(frozen=True)
class ErrorRates:
    """Chances, a record of one person at one agency unless said otherwise."""

    given_typo: float = 0.013
    family_typo: float = 0.022
    nickname: float = 0.06  # of people whose given name has one
    alias_as_name: float = 0.014
    half_double_surname: float = 0.12
    surname_changed_women: float = 0.12  # of people; each agency then holds the old or the new one
    surname_changed_men: float = 0.03  # of people
    has_alias: float = 0.30  # of people
    alias_known: float = 0.45
    middle_missing: float = 0.35
    birth_wrong: float = 0.049
    birth_year_only: float = 0.20  # POHSEY
    birth_missing: float = 0.02  # DCF, POHSEY
    moved: float = 0.53  # of people
    other_address: float = 0.04
    street_typo: float = 0.016
    second_phone: float = 0.40  # of people; each agency then holds either
    phone_missing: float = 0.32
    ssn_missing: float = 0.64
    ssn_typo: float = 0.01
    sex_wrong: float = 0.005
    transgender_unseen: float = 0.30
    race_wrong: float = 0.06
    two_numbers: float = 0.007
    row_name_typo: float = 0.03  # of rows after a person's first
    row_birth: float = 0.015
    row_address: float = 0.10
    row_blank: float = 0.10


@dataclass(frozen=True)
class Scenario:
    """A population and its four extracts.

    Parameters
    ----------
    people
        True persons when the caller names no number; list sizes scale with the number.
    siblings, group_homes, in_group_home
        Share of people with a sibling among them (same surname, address and phone), homes per 1,000 people, and
        share of the people in care who are registered at one.
    unscoped_rows, unscoped_people, unscoped_unlisted
        Rows under no tier rule beside a counted row, people with only such rows as a share of the list, and share of
        the persons not on a list who have such a row there.
    outside_period, older, elsewhere
        Rows outside the reporting period, people over 25 (MPD) and people of other places (DCF, medical), as shares
        of the list.
    """

    name: str
    people: int = 1100
    first_day: date = date(2013, 1, 1)
    last_day: date = date(2016, 12, 31)
    jurisdiction: str = "City of Milwaukee"
    report: Report = field(default_factory=Report)
    inclusion: Inclusion = field(default_factory=Inclusion)
    errors: ErrorRates = field(default_factory=ErrorRates)
    care: float = 0.18  # out-of-home care without ever having been reported missing from it
    siblings: float = 0.03
    group_homes: float = 11.0
    in_group_home: float = 0.25
    unscoped_rows: float = 0.15
    unscoped_people: float = 0.25
    unscoped_unlisted: float = 0.04
    outside_period: float = 0.04
    older: float = 0.02
    elsewhere: float = 0.02


MILWAUKEE = Scenario(name="milwaukee")

LOOSE = Scenario(
    name="loose",
    inclusion=Inclusion(
        mpd_believed=1.0,
        mpd_juvenile=1.0,
        mpd_care=1.0,
        mpd_missing=1.0,
        mpd_incident=0.0,
        dcf_base=-0.2,
        dcf_care=0.0,
        dcf_believed=0.0,
        dcf_mpd=0.0,
        dcf_missing=0.0,
        medical_base=-1.81,
        medical_assault=0.0,
        medical_assault_mpd=0.0,
        medical_mpd=0.0,
        medical_dcf=0.0,
        medical_juvenile=0.0,
        medical_confirmed=0.0,
        pohsey_by_age=(1.0, 1.0, 1.0, 1.0),
        pohsey_dcf=1.0,
        pohsey_care=1.0,
        pohsey_mpd=1.0,
    ),
)
"""No list leans on another, and all people are as visible as each other but for DCF, which takes hardly any adults."""

TIGHT = Scenario(
    name="tight",
    inclusion=Inclusion(
        mpd_believed=0.42,
        mpd_juvenile=1.56,
        mpd_care=1.56,
        mpd_missing=1.32,
        mpd_incident=0.60,
        dcf_base=-0.65,
        dcf_young_adult=-2.2,
        dcf_care=1.8,
        dcf_believed=-0.6,
        dcf_mpd=1.0,
        dcf_missing=0.6,
        medical_base=-4.0,
        medical_assault=1.6,
        medical_assault_mpd=1.0,
        medical_mpd=1.2,
        medical_dcf=0.6,
        medical_juvenile=0.6,
        medical_confirmed=0.6,
        pohsey_by_age=(0.49, 1.0, 0.12, 0.004),
        pohsey_dcf=6.25,
        pohsey_care=1.96,
        pohsey_mpd=1.44,
    ),
)
"""Lists of Milwaukee's sizes that lean on each other, and people who differ, twice as much (in log-odds)."""

SCENARIOS = {scenario.name: scenario for scenario in (MILWAUKEE, LOOSE, TIGHT)}


def find_scenario(name: str) -> Scenario:
    """Return the scenario of that name.

    Raises
    ------
    ContractError
        There is none.
    """
    try:
        return SCENARIOS[name]
    except KeyError:
        raise ContractError(
            "no scenario of that name", reason="not-found", hint=f"known: {', '.join(sorted(SCENARIOS))}"
        ) from None
