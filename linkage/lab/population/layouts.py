"""The four raw layouts: what each agency's extract looks like, columns, codes and placeholders included.

Every layout takes the rows of one chunk (see ``linkage.lab.population.draw``) and returns text columns; POHSEY's birth
year and postal code are numbers, as in its workbook. Each holds columns that no source schema reads: reporters,
officers, offices, notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from linkage.contract.vocabulary import HISTORY_KINDS, ROLES
from linkage.lab.population.evidence import Paths
from linkage.lab.population.sampling import Texts, choose

__all__ = ["INDICATORS", "LAYOUTS", "PATHS"]

INDICATORS = {"mpd": 8, "dcf": 10, "pohsey": 9, "medical": 0}
"""Number of indicators on each agency's form."""

PATHS: dict[str, Paths] = {"mpd": (0.45, 0.35, 0.20), "dcf": (0.6, 0.4, 0.0), "pohsey": (0.7, 0.0, 0.3)}
"""How each agency comes to confirm: disclosure, determination, juvenile in commercial sex."""

_MPD_INDICATORS = (
    "RUNAWAY",
    "OLDER_PARTNER",
    "HOTEL",
    "ONLINE_AD",
    "UNEXPLAINED_GIFTS",
    "BRANDING",
    "MULTIPLE_PHONES",
    "KNOWN_LOCATION",
)
_POHSEY_SCREENS = (
    "Runs away",
    "Older partner",
    "Unexplained money",
    "Controlled by someone",
    "Hotels",
    "Online ads",
    "Tattoo or branding",
    "Gang contact",
    "Repeated STI",
)  # fmt: skip


def _codes(column: str, codes: Mapping[str, str]) -> pl.Expr:
    return pl.col(column).replace_strict(codes, return_dtype=pl.String)


def _yes_no(column: str, yes: str, no: str) -> pl.Expr:
    return pl.when(column).then(pl.lit(yes)).otherwise(pl.lit(no))


def _plain(column: str) -> pl.Expr:
    return _upper(pl.col(column))


def _or_blank(
    rows: pl.DataFrame, expression: pl.Expr, blanks: Mapping[str, float], rng: np.random.Generator
) -> pl.Series:
    """Evaluate a text column and put one of the agency's ways to say "nothing" where it is empty."""
    values = rows.select(expression.alias("value"))["value"]
    empty = values.is_null() | (values == "")
    return pl.Series(choose(rng, blanks, len(rows)).tolist(), dtype=pl.String).zip_with(empty, values)


def _history(kind: str, codes: Mapping[str, str]) -> pl.Expr:
    return pl.col(f"history_{kind}").replace_strict(
        list(range(len(ROLES))), [codes[role] for role in ROLES], return_dtype=pl.String
    )


def _picked(rng: np.random.Generator, values: Mapping[str, float], size: int) -> pl.Series:
    return pl.Series(choose(rng, values, size).tolist(), dtype=pl.String)


def _made_up_people(rng: np.random.Generator, size: int) -> Texts:
    """Return names of officers, reporters and clinicians, who are nobody's records."""
    from linkage.lab.population import names

    sex, race = choose(rng, {"female": 0.5, "male": 0.5}, size), choose(rng, {"white": 0.6, "black": 0.4}, size)
    given, family = names.given_names(rng, sex, race), names.surnames(rng, race, double=0.0)
    return np.array([f"{one} {other}" for one, other in zip(given, family, strict=True)], dtype=object)


def mpd(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Lay out police records: a row a person and incident, capital letters, MM/DD/YYYY."""
    n = len(rows)
    name_gap = {"": 0.3, "UNKNOWN": 0.6, "REFUSED": 0.1}
    role = {"none": "N", "victim": "V", "suspect": "S", "witness": "W", "multiple": "M"}
    phone = pl.concat_list(
        *(
            pl.when(pl.col(c) != "").then(
                pl.format("({}) {}-{}", *(pl.col(c).str.slice(i, k) for i, k in ((0, 3), (3, 3), (6, 4))))
            )
            for c in ("phone", "second_phone")
        )
    )
    sex = {"female": "F", "male": "M", "transgender_female": "MTF", "transgender_male": "FTM", "": "U"}
    race = {
        "black": "B",
        "white": "W",
        "latino": "H",
        "multiracial": "M",
        "asian": "A",
        "native": "I",
        "other": "O",
        "": "U",
    }
    birth = pl.col("birth").dt.strftime("%m/%d/%Y")
    return rows.select(
        INCIDENT_NO=pl.format("{}-{}", pl.col("day").dt.strftime("%y"), pl.col("report").cast(pl.String).str.zfill(6)),
        INCIDENT_DATE=pl.col("day").dt.strftime("%m/%d/%Y"),
        PERSON_NO=pl.format("P{}", pl.col("local")),
        LAST_NAME=_or_blank(rows, _plain("family"), name_gap, rng),
        FIRST_NAME=_or_blank(rows, _plain("given"), name_gap, rng),
        MIDDLE_NAME=pl.when(_picked(rng, {"i": 0.5, "f": 0.5}, n) == "i")
        .then(_plain("middle").str.slice(0, 1))
        .otherwise(_plain("middle")),
        SUFFIX=pl.col("suffix"),
        AKA=_or_blank(rows, _joined("aka", "; ").pipe(_upper), {"": 0.8, "NONE KNOWN": 0.2}, rng),
        DOB=_or_blank(rows, birth, {"UNKNOWN": 0.5, "01/01/1900": 0.4, "": 0.1}, rng),
        SEX=_codes("sex", sex),
        RACE=_codes("race", race),
        SSN=_or_blank(rows, pl.col("ssn"), {"": 0.6, "000-00-0000": 0.4}, rng),
        PHONES=_or_blank(rows, phone.list.drop_nulls().list.join("|"), {"": 0.8, "NONE": 0.2}, rng),
        ADDRESS=_or_blank(rows, _plain("street"), {"HOMELESS": 0.3, "NO PERMANENT ADDRESS": 0.3, "UNKNOWN": 0.4}, rng),
        APT=_picked(rng, {"": 0.75, "APT 1": 0.07, "APT 2": 0.07, "UPPER": 0.06, "LOWER": 0.05}, n),
        CITY=_plain("city"),
        ZIP=_or_blank(rows, pl.col("postal_code"), {"": 0.7, "00000": 0.3}, rng),
        OFFENSES=pl.col("offenses"),
        FOUND_BY=_picked(rng, {"WORD SEARCH": 275, "READ": 65}, n),
        DISCLOSED=_yes_no("disclosed", "Y", "N"),
        DETERMINATION=_yes_no("determined", "TRAF", "NONE"),
        COMMERCIAL_SEX=_yes_no("commercial", "Y", "N"),
        CAREGIVER_ALLEGATION=_yes_no("caregiver", "Y", "N"),
        **{f"IND_{name}": _yes_no(f"indicator_{i}", "Y", "N") for i, name in enumerate(_MPD_INDICATORS)},
        **{f"HX_{kind.upper()}": _history(kind, role) for kind in HISTORY_KINDS},
        MISSING_EVER=_yes_no("missing", "Y", "N"),
        MISSING_JUVENILE=_yes_no("missing_as_juvenile", "Y", "N"),
        MISSING_FROM_CARE=_yes_no("missing_from_care", "Y", "N"),
        MISSING_REPORTS=pl.col("missing_reports").cast(pl.String),
        FIRST_MISSING_AGE=_age("missing_age"),
        FIRST_TRAUMA_AGE=_age("trauma_age"),
        OUT_OF_HOME_CARE=pl.when(_picked(rng, {"k": 0.85, "": 0.15}, n) == "k")
        .then(_yes_no("care", "Y", "N"))
        .otherwise(pl.lit("")),
        OFFICER=pl.Series(_made_up_people(rng, n).tolist(), dtype=pl.String).str.to_uppercase(),
    )


def _street_titled() -> pl.Expr:
    """Capitalise a street line as people write it: 486 S 1st St."""
    titled = pl.col("street").str.to_titlecase()
    for ending in ("St", "Nd", "Rd", "Th"):
        titled = titled.str.replace(rf"(\d){ending}\b", f"${{1}}{ending.lower()}")
    return titled


def _upper(expression: pl.Expr) -> pl.Expr:
    """Write in capital letters without accents."""
    return expression.str.replace_all("ß", "ss").str.normalize("NFD").str.replace_all(r"\p{M}", "").str.to_uppercase()


def _joined(column: str, separator: str) -> pl.Expr:
    return pl.col(column).list.join(separator)


def _age(column: str) -> pl.Expr:
    return pl.when(pl.col(column) >= 0).then(pl.col(column).cast(pl.String)).otherwise(pl.lit(""))


def dcf(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Lay out child welfare reports: a row a report, accents kept (windows-1252), ISO dates, last four of the SSN."""
    n = len(rows)
    gender = {
        "female": "Female",
        "male": "Male",
        "transgender_female": "Transgender F",
        "transgender_male": "Transgender M",
        "": "Unknown",
    }
    race = {
        "black": "AA",
        "white": "CA",
        "latino": "HI",
        "multiracial": "2M",
        "asian": "AS",
        "native": "AI",
        "other": "OT",
        "": "UN",
    }
    digits = pl.col("ssn").str.slice(-4)
    phone = pl.when(pl.col("phone") != "").then(
        pl.format("{}-{}-{}", *(pl.col("phone").str.slice(i, k) for i, k in ((0, 3), (3, 3), (6, 4))))
    )
    home = {"In home": 0.7, "Kinship": 0.3}
    away = {"Foster care": 0.45, "Group home": 0.35, "Residential": 0.15, "Shelter": 0.05}
    return rows.select(
        REPORT_ID=pl.format("R{}", pl.col("report").cast(pl.String).str.zfill(8)),
        REPORT_DATE=pl.col("day").dt.strftime("%Y-%m-%d"),
        CLIENT_ID=pl.col("local"),
        CHILD_LAST=pl.col("family"),
        CHILD_FIRST=pl.col("given"),
        CHILD_MIDDLE=pl.col("middle"),
        SUFFIX=pl.col("suffix").str.to_titlecase(),
        OTHER_NAMES=_joined("aka_turned", " / "),
        BIRTH_DATE=_or_blank(rows, pl.col("birth").dt.strftime("%Y-%m-%d"), {"": 0.5, "1900-01-01": 0.5}, rng),
        GENDER=_codes("sex", gender),
        RACE_ETHNICITY=_codes("race", race),
        SSN_LAST4=_or_blank(rows, digits, {"": 0.7, "0000": 0.3}, rng),
        PHONE=_or_blank(rows, phone, {"": 0.9, "000-000-0000": 0.1}, rng),
        STREET=_or_blank(rows, _street_titled(), {"": 0.5, "Unknown": 0.5}, rng),
        CITY=pl.col("city"),
        ZIP=pl.col("postal_code"),
        PLACEMENT=pl.when("care").then(_picked(rng, away, n)).otherwise(_picked(rng, home, n)),
        ALLEGATION=_yes_no("determined", "Sex trafficking", "Neglect or abuse"),
        FINDING=pl.when("determined")
        .then(pl.lit("Substantiated"))
        .otherwise(_picked(rng, {"Unsubstantiated": 0.6, "Substantiated": 0.1, "Screened out": 0.3}, n)),
        CHILD_DISCLOSED=_yes_no("disclosed", "Yes", "No"),
        CAREGIVER_CONCERN=_yes_no("caregiver", "Yes", "No"),
        **{f"TI_{i + 1:02d}": _yes_no(f"indicator_{i}", "1", "0") for i in range(INDICATORS["dcf"])},
        PRIOR_MALTREATMENT=pl.when(pl.col("history_child_abuse") > 0)
        .then(pl.lit("Victim"))
        .otherwise(pl.lit("No prior")),
        RAN_FROM_CARE=_yes_no("missing_from_care", "Yes", "No"),
        EVER_MISSING=_yes_no("missing", "Yes", "No"),
        REPORTER_NAME=pl.Series(_made_up_people(rng, n).tolist(), dtype=pl.String),
        REPORTER_RELATION=_picked(rng, {"Teacher": 3, "Police": 4, "Parent": 2, "Clinician": 2, "Anonymous": 1}, n),
        WORKER_NOTE=_picked(rng, {"": 0.7, "see file": 0.2, "call back": 0.1}, n),
    )


def pohsey(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Lay out outreach contacts: a workbook row a contact, mixed case, often only a birth year, never an SSN."""
    n = len(rows)
    gender = {"female": "F", "male": "M", "transgender_female": "TF", "transgender_male": "TM", "": "?"}
    race = {
        "black": "Black", "white": "White", "latino": "Hispanic/Latina", "multiracial": "More than one",
        "asian": "Asian", "native": "Native", "other": "Other", "": "?",
    }  # fmt: skip
    dated = pl.when(~pl.col("year_only")).then(pl.col("birth").dt.strftime("%d-%b-%Y"))
    street = _street_titled().str.replace(r" (N|S|E|W) ", " $1. ").str.replace(r" St$", " Street")
    phone = pl.when(pl.col("phone") != "").then(
        pl.format("{}.{}.{}", *(pl.col("phone").str.slice(i, k) for i, k in ((0, 3), (3, 3), (6, 4))))
    )
    screens: dict[str, pl.Expr] = {
        f"Screen: {name}": pl.when(f"indicator_{i}")
        .then(pl.lit("yes"))
        .otherwise(_picked(rng, {"no": 0.8, "unsure": 0.15, "": 0.05}, n))
        for i, name in enumerate(_POHSEY_SCREENS)
    }
    columns: dict[str, pl.Expr | pl.Series] = {
        "Contact date": pl.col("day").dt.strftime("%d-%b-%Y"),
        "Participant": pl.format("YP-{}", pl.col("local")),
        "First name": pl.when(_picked(rng, {"l": 0.1, "t": 0.9}, n) == "l")
        .then(pl.col("given").str.to_lowercase())
        .otherwise(pl.col("given")),
        "Last name": pl.col("family"),
        "Middle initial": pl.col("middle").str.slice(0, 1),
        "Also known as": _joined("aka", ", "),
        "Date of birth": _or_blank(rows, dated, {"": 0.6, "don't know": 0.4}, rng),
        "Birth year": pl.when("year_only").then(pl.col("birth").dt.year().cast(pl.Int64)),
        "Gender": _codes("sex", gender),
        "Race/ethnicity": _codes("race", race),
        "Phone": _or_blank(rows, phone, {"": 0.7, "none": 0.3}, rng),
        "Address": _or_blank(rows, street, {"": 0.5, "couch surfing": 0.2, "no fixed address": 0.3}, rng),
        "Zip": pl.col("postal_code").cast(pl.Int64, strict=False),
        "Disclosed exploitation": _yes_no("disclosed", "yes", "no"),
        "Sex for money or goods": _yes_no("commercial", "yes", "no"),
        "Caregiver worried about exploitation": _yes_no("caregiver", "yes", "no"),
        **screens,
        "Past sexual assault": pl.when(pl.col("history_sexual_assault").is_in([1, 4]))
        .then(pl.lit("yes"))
        .otherwise(_picked(rng, {"no": 0.7, "not asked": 0.3}, n)),
        "Ever reported missing": pl.when(_picked(rng, {"a": 0.8, "": 0.2}, n) == "a")
        .then(_yes_no("missing", "yes", "no"))
        .otherwise(pl.lit("not asked")),
        "In foster or group care": _yes_no("care", "yes", "no"),
        "Referred by": pl.when(pl.col("dcf") & (_picked(rng, {"d": 0.7, "": 0.3}, n) == "d"))
        .then(pl.lit("DCF"))
        .otherwise(_picked(rng, {"Wraparound Milwaukee": 3, "Juvenile Detention": 2, "Children's Hospital": 2}, n)),
        "Outreach worker": pl.Series(_made_up_people(rng, n).tolist(), dtype=pl.String),
    }
    return rows.select(**columns)


_CONFIRMED_CODES = {True: "T74.52XA", False: "T74.51XA"}
_SUSPECTED_CODES = {True: "T76.52XA", False: "T76.51XA"}
_OTHER_CODES = {
    "Z11.3": 8, "N39.0": 6, "F43.10": 6, "F32.9": 5, "S00.83XA": 4, "O09.90": 2, "Z32.01": 3, "N73.9": 2, "F11.10": 2,
    "T74.21XA": 2, "T74.22XA": 2, "J02.9": 4, "R10.9": 4, "Z72.51": 2,
}  # fmt: skip


def medical(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Lay out hospital visits: a row a visit, ICD-10-CM codes, YYYYMMDD, nine SSN digits, some ZIP+4."""
    n = len(rows)
    sex = {"female": "F", "male": "M", "transgender_female": "TF", "transgender_male": "TM", "": "U"}
    race = {
        "black": "2054-5", "white": "2106-3", "latino": "2135-2", "multiracial": "2131-1M", "asian": "2028-9",
        "native": "1002-5", "other": "2131-1", "": "UNK",
    }  # fmt: skip
    minor = (pl.col("oldest") < 18) & (pl.col("youngest") >= 0)
    exploitation = (
        pl.when(pl.col("tier") == 2)
        .then(pl.when(minor).then(pl.lit(_CONFIRMED_CODES[True])).otherwise(pl.lit(_CONFIRMED_CODES[False])))
        .when(pl.col("tier") == 1)
        .then(pl.when(minor).then(pl.lit(_SUSPECTED_CODES[True])).otherwise(pl.lit(_SUSPECTED_CODES[False])))
    )
    further = [
        pl.when(_picked(rng, {"y": chance, "": 1 - chance}, n) == "y").then(_picked(rng, _OTHER_CODES, n))
        for chance in (0.6, 0.3)
    ]
    codes = pl.concat_list(_picked(rng, _OTHER_CODES, n), exploitation, *further).list.drop_nulls()
    zip4 = pl.Series([f"-{v:04d}" for v in rng.integers(1, 9999, n)], dtype=pl.String)
    return rows.select(
        VISIT_ID=pl.format("V{}", pl.col("report").cast(pl.String).str.zfill(9)),
        VISIT_DATE=pl.col("day").dt.strftime("%Y%m%d"),
        MRN=pl.col("local"),
        PT_LAST=_plain("family"),
        PT_FIRST=_plain("given"),
        PT_MIDDLE=_plain("middle").str.slice(0, 1),
        PT_SUFFIX=pl.col("suffix"),
        OTHER_NAMES=_joined("aka_turned", ";").pipe(_upper),
        DOB=pl.col("birth").dt.strftime("%Y%m%d"),
        SEX_CD=_codes("sex", sex),
        RACE_ETH_CD=_codes("race", race),
        SSN=_or_blank(rows, pl.col("ssn").str.replace_all("-", ""), {"": 0.7, "999999999": 0.3}, rng),
        PHONE_HOME=_or_blank(rows, pl.col("phone"), {"": 0.85, "9999999999": 0.15}, rng),
        ADDR_1=_or_blank(rows, _plain("street"), {"": 0.6, "UNKNOWN": 0.4}, rng),
        CITY=_plain("city"),
        ZIP=pl.when(_picked(rng, {"y": 0.15, "": 0.85}, n) == "y")
        .then(pl.col("postal_code") + zip4)
        .otherwise(pl.col("postal_code")),
        DX_CODES=codes.list.join("|"),
        PRIOR_SA_EXAM=pl.when(pl.col("history_sexual_assault").is_in([1, 4])).then(pl.lit("1")).otherwise(pl.lit("0")),
        MEDICAID_ID=pl.Series([f"{v:010d}" for v in rng.integers(0, 10**10, n)], dtype=pl.String),
        ATTENDING=pl.Series(_made_up_people(rng, n).tolist(), dtype=pl.String).str.to_uppercase(),
    )


LAYOUTS: dict[str, Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]] = {
    "mpd": mpd,
    "dcf": dcf,
    "pohsey": pohsey,
    "medical": medical,
}
"""Source -> its raw layout."""
