"""The synthetic population: calibrated to the report, as wrong as real files, readable by the source schemas."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import unicodedata
from collections.abc import Callable
from datetime import date
from functools import reduce
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from linkage.contract import SourceSchema, load_agreement, load_policy, load_source
from linkage.contract.source import AgeBelow, AllOf, AnyOf, CountOf, IsAmong, IsFilled, StartsWith
from linkage.contract.vocabulary import HISTORY_KINDS
from linkage.errors import ContractError
from linkage.lab.population import MILWAUKEE, SCENARIOS, draw_population, find_scenario
from linkage.lab.population.contacts import draw_lists
from linkage.lab.population.latent import draw_latent
from linkage.lab.population.sampling import fixed_size
from linkage.lab.population.scenario import SOURCES

SEEDS = (1, 2, 3, 4, 5, 6)
FILES = {"mpd": "mpd.csv", "dcf": "dcf.csv", "pohsey": "pohsey.xlsx", "medical": "medical.parquet"}


@pytest.fixture(scope="module")
def draws(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Draws of the scenario as it stands, one a seed."""
    root = tmp_path_factory.mktemp("draws")
    for seed in SEEDS:
        draw_population(MILWAUKEE, seed, root / str(seed))
    return [root / str(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One draw of 20,000 persons: rates measured on it have small sampling error."""
    folder = tmp_path_factory.mktemp("large")
    draw_population(MILWAUKEE, 11, folder, people=20_000, chunk=5_000)
    return folder


# A plain twin of what a source schema means, independent of the steward's code.


def read_raw(folder: Path, source: str) -> pl.DataFrame:
    schema, path = load_source(source), folder / "extracts" / source / FILES[source]
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if path.suffix == ".xlsx":
        frame = pl.read_excel(path, sheet_name=schema.sheet, infer_schema_length=0)
        return frame.with_columns(pl.all().cast(pl.String).fill_null(""))
    text = path.read_bytes().decode(schema.encoding)
    frame = pl.read_csv(text.encode(), separator=schema.separator, infer_schema=False)
    return frame.with_columns(pl.all().fill_null(""))


def nothing(schema: SourceSchema, column: str, more: tuple[str, ...] = ()) -> pl.Expr:
    words = [word.casefold() for word in (*schema.missing, *more)]
    return pl.col(column).str.strip_chars().str.to_lowercase().is_in([*words, ""])


def value(schema: SourceSchema, name: str) -> pl.Expr:
    entry = schema.identifiers[name]
    return pl.when(~nothing(schema, entry.column, entry.missing)).then(pl.col(entry.column))


def typed_date(schema: SourceSchema, column: str, formats: tuple[str, ...], missing: tuple[str, ...] = ()) -> pl.Expr:
    text = pl.when(~nothing(schema, column, missing)).then(pl.col(column))
    return text.str.to_date(formats[0], strict=True)


def with_dates(frame: pl.DataFrame, schema: SourceSchema) -> pl.DataFrame:
    birth = schema.identifiers["birth_date"]
    day = pl.col("__day").dt
    born = pl.col("__birth").dt
    turned = day.strftime("%m%d") >= born.strftime("%m%d")
    return frame.with_columns(
        __day=typed_date(schema, schema.event_date.column, schema.event_date.formats),
        __birth=typed_date(schema, birth.column, birth.formats, birth.missing),
    ).with_columns(__age=day.year() - born.year() - (~turned).cast(pl.Int32))


def holds(schema: SourceSchema, condition: Any) -> pl.Expr:
    match condition:
        case AllOf(all=parts):
            return pl.all_horizontal(holds(schema, part) for part in parts)
        case AnyOf(any=parts):
            return pl.any_horizontal(holds(schema, part) for part in parts)
        case IsAmong(column=column, among=among):
            return pl.col(column).str.to_lowercase().is_in([word.lower() for word in among])
        case StartsWith(column=column, starts_with=starts, split=split):
            codes = pl.col(column).str.replace_all(".", "", literal=True).str.split(split or "\0")
            plain = [start.replace(".", "") for start in starts]
            return codes.list.eval(pl.any_horizontal(pl.element().str.starts_with(p) for p in plain)).list.any()
        case IsFilled(column=column, filled=filled):
            return ~nothing(schema, column) == filled
        case CountOf(columns=columns, among=among, at_least=least):
            return pl.sum_horizontal(pl.col(c).is_in(list(among)).cast(pl.Int32) for c in columns) >= least
        case AgeBelow(age_below=years):
            return (pl.col("__age") < years).fill_null(False)
    raise AssertionError(condition)


def contacts(folder: Path, source: str) -> pl.DataFrame:
    """Return the raw rows with ``__day``, ``__birth``, ``__age``, ``__tier`` and the true ``person``."""
    schema = load_source(source)
    tier = reduce(
        lambda rest, rule: pl.when(holds(schema, rule.when)).then(pl.lit(rule.tier)).otherwise(rest),
        reversed(schema.tiers),
        pl.lit(None, dtype=pl.String),
    )
    frame = with_dates(read_raw(folder, source), schema).with_columns(__tier=tier)
    records = pl.read_parquet(folder / "truth" / "records.parquet").filter(source=source)
    return frame.join(
        records.select("local_id", "person", "in_scope", "in_period"),
        left_on=schema.person_number,
        right_on="local_id",
        how="left",
        maintain_order="left",
    )


def in_period(frame: pl.DataFrame) -> pl.DataFrame:
    first, last = MILWAUKEE.first_day, MILWAUKEE.last_day
    return frame.filter(pl.col("__tier").is_not_null(), pl.col("__day").is_between(first, last))


def near(count: float, expected: float, total: int, *, sd: float = 4.0) -> bool:
    """Whether a count lies within so many binomial standard deviations (and one) of what is expected."""
    p = expected / total
    return abs(count - expected) <= sd * sqrt(total * p * (1 - p)) + 1


# Schemas and layouts


@pytest.mark.parametrize("source", SOURCES)
def test_a_schema_reads_columns_that_the_extract_has(draws: list[Path], source: str) -> None:
    schema, raw = load_source(source), read_raw(draws[0], source)
    assert schema.deduplicated and schema.person_number is not None
    assert set(schema.columns()) <= set(raw.columns)
    assert raw.height > 100


@pytest.mark.parametrize(
    ("source", "unread"),
    [
        ("mpd", {"OFFICER", "INCIDENT_NO", "OFFENSES", "MISSING_REPORTS"}),
        ("dcf", {"REPORTER_NAME", "REPORTER_RELATION", "WORKER_NOTE", "REPORT_ID"}),
        ("pohsey", {"Outreach worker", "Referred by"}),
        ("medical", {"ATTENDING", "MEDICAID_ID", "VISIT_ID"}),
    ],
)
def test_a_schema_leaves_alone_what_is_not_about_the_person(draws: list[Path], source: str, unread: set[str]) -> None:
    raw = read_raw(draws[0], source)
    assert unread <= set(raw.columns)
    assert not unread & set(load_source(source).columns())


@pytest.mark.parametrize("source", SOURCES)
def test_every_row_passes_its_schema(draws: list[Path], source: str) -> None:
    schema, raw = load_source(source), read_raw(draws[0], source)
    dated = with_dates(raw, schema)  # strict formats: raises on any entry that does not fit
    assert dated["__day"].null_count() == 0
    assert dated["__birth"].drop_nulls().is_between(date(1965, 1, 1), date(2010, 1, 1)).all()
    for name, entry in schema.identifiers.items():
        filled = raw.select(value(schema, name).alias("v"))["v"].drop_nulls()
        assert len(filled) > 0 or name == "suffix", name  # nearly all are women
        assert not entry.required or len(filled) == len(raw), name
        assert entry.codes is None or set(filled) <= set(entry.codes), name
    for name, fact in schema.facts.items():
        if fact.column:
            filled = raw.filter(~nothing(schema, fact.column, fact.missing))[fact.column]
            assert set(filled) <= set(fact.codes or {}), name
    for name, flag in schema.flags.items():
        assert set(raw.filter(~nothing(schema, flag.column))[flag.column]) <= {*flag.yes, *flag.no}, name


@pytest.mark.parametrize("source", SOURCES)
def test_the_agreement_covers_what_the_schema_maps(source: str) -> None:
    schema, agreement = load_source(source), load_agreement(source)
    assert set(schema.identifiers) <= set(agreement.identifiers)
    assert set(schema.facts) | set(schema.flags) <= set(agreement.facts)


def test_each_extract_has_its_own_shape(draws: list[Path]) -> None:
    mpd, dcf, pohsey, medical = (read_raw(draws[0], source) for source in SOURCES)
    assert mpd["LAST_NAME"].str.contains(r"^[A-Z' -]*$").all()
    assert any("|" in entry for entry in mpd["PHONES"])
    assert {"000-00-0000", ""} <= set(mpd["SSN"]) and "01/01/1900" in set(mpd["DOB"])
    assert dcf["CHILD_LAST"].str.contains(r"[^\x00-\x7f]").any()  # accents that need windows-1252
    assert dcf["OTHER_NAMES"].str.contains(", ").any() and dcf["SSN_LAST4"].str.len_chars().is_in([0, 4]).all()
    assert not any("SSN" in column.upper() for column in pohsey.columns)
    assert medical["ZIP"].str.contains("-").any() and medical["DX_CODES"].str.contains(r"T74\.5").any()
    for frame, source in ((mpd, "mpd"), (dcf, "dcf"), (pohsey, "pohsey"), (medical, "medical")):
        number = load_source(source).person_number
        assert frame.height > frame[number].n_unique()  # several rows a person


@pytest.mark.parametrize("source", SOURCES)
def test_tier_rules_lead_to_the_true_tier(draws: list[Path], source: str) -> None:
    for folder in draws[:2]:
        frame = contacts(folder, source)
        assert frame["person"].null_count() == 0
        number = load_source(source).person_number
        found = frame.group_by(number).agg(pl.col("__tier").is_not_null().any(), pl.col("in_scope").first())
        assert (found["__tier"] == found["in_scope"]).all()
        assert not found["in_scope"].all()  # somebody in the extract is no case
        listed = set(in_period(frame)[number])
        assert listed == set(frame.filter("in_period")[number])
        persons = pl.read_parquet(folder / "truth" / "persons.parquet")
        true = in_period(frame).join(persons.select("person", "counted", "tier", source), on="person")
        assert set(true.filter("counted")["person"]) == set(persons.filter(source)["person"])
        believed = true.filter("counted", tier="believed")
        assert set(believed["__tier"]) == {"believed"}


def test_mpd_finds_the_true_tier_of_everybody(draws: list[Path]) -> None:
    frame = in_period(contacts(draws[0], "mpd"))
    persons = pl.read_parquet(draws[0] / "truth" / "persons.parquet").filter("mpd")
    highest = frame.group_by("person").agg(confirmed=(pl.col("__tier") == "confirmed").any())
    both = persons.join(highest, on="person")
    assert len(both) == 340
    assert ((both["tier"] == "confirmed") == both["confirmed"]).all()


# Calibration to the report


def mpd_people(folder: Path) -> pl.DataFrame:
    """Return the counted MPD people with complete records, a row each, from the raw extract."""
    schema = load_source("mpd")
    persons = pl.read_parquet(folder / "truth" / "persons.parquet").filter("counted")
    frame = in_period(contacts(folder, "mpd")).filter(pl.col("person").is_in(persons["person"].implode()))
    given, family = value(schema, "given_name"), value(schema, "family_name")
    filled = (given, family, value(schema, "birth_date"), value(schema, "sex"), ~nothing(schema, "RACE", ("U",)))
    complete = pl.all_horizontal(part.is_not_null() for part in filled[:4]) & filled[4]
    return (
        frame.with_columns(complete=complete)
        .sort("person", "__day")
        .group_by("person", maintain_order=True)
        .agg(
            pl.col("complete").any(),
            pl.col("SEX", "RACE", r"^HX_.*$", r"^MISSING.*$", "FIRST_TRAUMA_AGE", "FIRST_MISSING_AGE").first(),
            pl.col("__age").first().alias("age"),
            (pl.col("__tier") == "confirmed").any().alias("confirmed"),
            pl.col("__tier").first().alias("first_tier"),
            pl.col("__day").dt.year().n_unique().alias("years"),
            pl.len().alias("incidents"),
        )
    )


@pytest.fixture(scope="module")
def report(shared: Path) -> dict[str, Any]:
    return yaml.safe_load((shared / "facts" / "mpd_2013_2016.yaml").read_text())


@pytest.fixture(scope="module")
def mpd(draws: list[Path]) -> pl.DataFrame:
    return pl.concat(mpd_people(folder) for folder in draws)


def test_list_sizes(draws: list[Path], report: dict[str, Any]) -> None:
    for folder in draws:
        people = mpd_people(folder)
        assert len(people) == report["case_finding"]["identified"]
        assert people["complete"].sum() == report["case_finding"]["analysed"]
        summary = json.loads((folder / "truth" / "summary.json").read_text())
        assert summary["true_n"] == MILWAUKEE.people
        assert summary["lists"]["mpd"] == 340 and summary["lists"]["pohsey"] == 143
        assert 250 <= summary["lists"]["dcf"] <= 450 and 120 <= summary["lists"]["medical"] <= 200
        assert all(count >= 15 for count in summary["overlaps"].values())
        assert summary["observed"] == 1100 - summary["patterns"]["0000"] < 800


def test_mpd_reproduces_tier_sex_race_and_age(mpd: pl.DataFrame, report: dict[str, Any]) -> None:
    whole = mpd.filter("complete")
    n = len(whole)
    confirmed, believed = whole.filter("confirmed"), whole.filter(~pl.col("confirmed"))
    assert near(len(confirmed), n * report["tier"]["confirmed"] / 231, n)
    sexes = {"F": "female", "M": "male", "MTF": "transgender_mtf"}
    races = {"B": "black", "W": "white", "H": "latino", "M": "multiracial", "A": "asian"}
    for tier, part in (("overall", whole), ("confirmed", confirmed), ("believed", believed)):
        for column, codes, table in (("SEX", sexes, report["sex"]), ("RACE", races, report["race_ethnicity"])):
            total = sum(table[tier].values())
            assert set(part[column]) <= set(codes)
            for code, word in codes.items():
                expected = len(part) * table[tier].get(word, 0) / total
                assert near((part[column] == code).sum(), expected, len(part)), (tier, word)
    ages = report["age_at_first_trafficking_incident"]
    assert near((whole["age"] < 18).sum(), n * ages["juvenile_under_18"] / 231, n)
    assert near(whole["age"].is_between(14, 17).sum(), n * ages["aged_14_to_17"] / 231, n)
    early = whole["FIRST_TRAUMA_AGE"].cast(pl.Int64) <= 15
    assert near(early.sum(), n * report["age_at_first_trauma_indicator"]["share_aged_15_or_younger"], n)


def test_mpd_reproduces_recurrence(mpd: pl.DataFrame, report: dict[str, Any]) -> None:
    whole, told = mpd.filter("complete"), report["recurrence"]
    n = len(whole)
    assert near((whole["incidents"] > 1).sum(), n * told["trafficked_more_than_once"] / 231, n)
    assert near((whole["years"] > 1).sum(), n * told["in_more_than_one_year"] / 231, n)
    assert near((whole["years"] == 4).sum(), n * told["in_all_four_years"] / 231, n)
    once = (whole["incidents"] > 1) & (whole["years"] == 1)
    assert near(once.sum(), n * told["more_than_once_within_one_year_only"] / 231, n)
    assert 5 <= whole["incidents"].max() <= told["most_known_incidents_of_one_person"]
    later = whole.filter(pl.col("confirmed"), pl.col("first_tier") == "believed")
    assert near(len(later), n * report["tier"]["confirmed_after_an_earlier_suspected_incident"] / 231, n)


def test_mpd_reproduces_histories(mpd: pl.DataFrame, report: dict[str, Any]) -> None:
    whole, told = mpd.filter("complete"), report["history_with_mpd"]
    n = len(whole)
    juvenile = whole["age"] < 18
    groups = {
        "overall": (pl.Series([True] * n), 231),
        "confirmed": (whole["confirmed"], 187),
        "believed": (~whole["confirmed"], 44),
        "juvenile": (juvenile, 126),
        "adult": (~juvenile, 105),
    }
    some = reduce(lambda a, b: a | b, (whole[f"HX_{kind.upper()}"] != "N" for kind in HISTORY_KINDS))
    assert near(some.sum(), n * told["any"] / 231, n)
    roles = {"V": "victim_only", "S": "suspect_only", "W": "witness_only", "M": "multiple"}
    for kind in HISTORY_KINDS:
        column = whole[f"HX_{kind.upper()}"]
        for group, count in told[kind].items():
            inside, printed = groups[group]
            total = int(inside.sum())
            assert near(((column != "N") & inside).sum(), total * count / printed, total), (kind, group)
        for code, role in roles.items():
            if kind != "drug":
                expected = n * report["role_in_history"][kind][role] / 231
                assert near((column == code).sum(), expected, n), (kind, role)


def test_mpd_reproduces_missing_reports(mpd: pl.DataFrame, report: dict[str, Any]) -> None:
    whole, told = mpd.filter("complete"), report["missing"]
    n = len(whole)
    tiers = {"overall": (whole, 231), "confirmed": (whole.filter("confirmed"), 187)}
    tiers["believed"] = (whole.filter(~pl.col("confirmed")), 44)
    for tier, (part, printed) in tiers.items():
        for column, name in (("MISSING_EVER", "ever_reported_missing"), ("MISSING_FROM_CARE", "from_out_of_home_care")):
            expected = len(part) * told[name][tier] / printed
            assert near((part[column] == "Y").sum(), expected, len(part)), (tier, name)
    assert near((whole["MISSING_JUVENILE"] == "Y").sum(), n * told["as_a_juvenile"] / 231, n)
    reports = whole["MISSING_REPORTS"].cast(pl.Int64)
    assert 15 <= reports.max() <= told["most_missing_reports_of_one_person"]
    missing = whole.filter(pl.col("MISSING_EVER") == "Y")["FIRST_MISSING_AGE"].cast(pl.Int64)
    assert abs(missing.median() - told["median_age_reported_missing"]) <= 1


def test_incidents_are_shared_and_categorised(draws: list[Path], report: dict[str, Any]) -> None:
    incidents = []
    for folder in draws:
        persons = pl.read_parquet(folder / "truth" / "persons.parquet").filter("mpd")
        rows = in_period(contacts(folder, "mpd")).filter(pl.col("person").is_in(persons["person"].implode()))
        together = rows.group_by("INCIDENT_NO").agg(pl.col("OFFENSES").first(), pl.col("__day").n_unique(), pl.len())
        assert (together["__day"] == 1).all() and together["len"].max() > 1
        incidents.append(together)
    found = pl.concat(incidents)
    expected = len(draws) * report["case_finding"]["mpd_incident_reports"]
    assert abs(len(found) - expected) < 0.1 * expected
    for name, count in report["incident_categories"].items():
        held = found["OFFENSES"].str.split(";").list.contains(name.upper()).sum()
        assert near(held, len(found) * count / 315, len(found)), name


def test_lists_depend_on_each_other(large: Path) -> None:
    persons = pl.read_parquet(large / "truth" / "persons.parquet").filter("counted")
    for a, b in (("mpd", "dcf"), ("dcf", "pohsey"), ("mpd", "medical")):
        table = [[persons.filter(pl.col(a) == i, pl.col(b) == j).height for j in (True, False)] for i in (True, False)]
        odds = table[0][0] * table[1][1] / (table[0][1] * table[1][0])
        assert odds > 1.3, (a, b)
    juvenile = persons.filter(pl.col("age_first_incident") < 18)
    inside = [juvenile.filter(pl.col("dcf") == dcf)["pohsey"].mean() for dcf in (True, False)]
    assert inside[0] > 1.8 * inside[1]  # DCF refers to POHSEY
    unseen = persons.filter(~pl.col("mpd"))
    assert (unseen["tier"] == "confirmed").mean() < (persons.filter("mpd")["tier"] == "confirmed").mean()


# Errors between two agencies' records of one person


def plain(text: str | None) -> str:
    folded = unicodedata.normalize("NFD", (text or "").replace("ß", "ss"))
    return "".join(c for c in folded.upper() if c.isalnum())


def street(text: str | None) -> str:
    return plain((text or "").removesuffix("reet"))


def first_rows(folder: Path, source: str) -> pl.DataFrame:
    """Return what each agency has on each counted person: the first row of its first record, in plain form."""
    schema = load_source(source)
    names = [name for name in schema.identifiers if name != "birth_date"]
    persons = pl.read_parquet(folder / "truth" / "persons.parquet").filter("counted")
    true_sex = persons.select("person", true_sex="sex")
    frame = contacts(folder, source).filter("in_scope").join(true_sex, on="person", maintain_order="left")
    cleaned = frame.select("person", "true_sex", "__birth", *(value(schema, name).alias(name) for name in names))
    clean: dict[str, Callable[[str | None], str]] = {"street": street}
    return (
        cleaned.group_by("person", maintain_order=True)
        .first()
        .with_columns(
            pl.col(name).map_elements(clean.get(name, plain), return_dtype=pl.String, skip_nulls=False).alias(name)
            for name in names
        )
    )


def pairs_of(folder: Path) -> pl.DataFrame:
    rows = {source: first_rows(folder, source) for source in SOURCES}
    shared = ["person", "true_sex", "given_name", "family_name", "__birth", "street"]
    return pl.concat(
        rows[a].select(shared).join(rows[b].select(shared), on="person")
        for i, a in enumerate(SOURCES)
        for b in SOURCES[i + 1 :]
    )


def differ(pairs: pl.DataFrame, column: str) -> float:
    both = pairs.filter(
        *(pl.col(c).is_not_null() & (pl.col(c).cast(pl.String) != "") for c in (column, f"{column}_right"))
    )
    return float((both[column] != both[f"{column}_right"]).mean())  # type: ignore[arg-type]


def test_records_of_one_person_differ_as_stated(large: Path) -> None:
    pairs = pairs_of(large)
    assert len(pairs) > 5_000
    named = pairs.filter(pl.all_horizontal(pl.col(c) != "" for c in ("given_name", "family_name", "given_name_right")))
    named = named.filter(pl.col("family_name_right") != "")
    other = (named["given_name"] != named["given_name_right"]) | (named["family_name"] != named["family_name_right"])
    assert 0.16 < other.mean() < 0.22
    women = pairs.filter(pl.col("true_sex").is_in(["female", "transgender_female"]))
    assert 0.10 < differ(women, "family_name") < 0.13
    assert 0.08 < differ(pairs, "__birth") < 0.11
    assert 0.30 < differ(pairs, "street") < 0.38


def test_missing_identifiers_as_stated(large: Path) -> None:
    rows = {source: first_rows(large, source) for source in SOURCES}
    for source in SOURCES:
        assert 0.30 <= (rows[source]["phone"] == "").mean() < 0.36, source
        if source != "pohsey":
            assert 0.60 <= (rows[source]["ssn4"] == "").mean() < 0.68, source
    assert "ssn4" not in load_source("pohsey").identifiers
    raw = read_raw(large, "pohsey").unique("Participant", keep="first", maintain_order=True)
    assert 0.18 < (raw["Birth year"] != "").mean() < 0.22
    assert not ((raw["Birth year"] != "") & raw["Date of birth"].str.contains(r"\d")).any()


def test_a_few_people_stand_under_two_local_numbers(large: Path) -> None:
    records = pl.read_parquet(large / "truth" / "records.parquet").filter("in_scope")
    for source in SOURCES:
        part = records.filter(source=source)
        assert part["local_id"].is_unique().all()
        assert 0.002 < 1 - part["person"].n_unique() / len(part) < 0.015, source


def test_rows_of_one_person_vary(large: Path) -> None:
    raw = read_raw(large, "mpd")
    several = raw.group_by("PERSON_NO").agg(pl.len(), pl.col("LAST_NAME", "ADDRESS", "DOB").n_unique())
    several = several.filter(pl.col("len") > 1)
    assert 0.005 < (several["LAST_NAME"] > 1).mean() < 0.08
    assert (several["DOB"] > 1).mean() > 0.005 and (several["ADDRESS"] > 1).mean() > 0.03


def test_namesakes_are_as_rare_as_among_real_people(large: Path) -> None:
    persons = pl.read_parquet(large / "truth" / "persons.parquet")
    full = persons.select(pl.concat_str("given", "family", separator=" "))["given"].value_counts()
    assert (full["count"] > 1).mean() < 0.05  # of full names
    family = persons["family"].value_counts(normalize=True)
    assert family["proportion"].max() < 0.03 and len(family) > 4_000


def test_nobody_is_called_a_placeholder(large: Path) -> None:
    persons = pl.read_parquet(large / "truth" / "persons.parquet")
    words = {str(word).casefold() for source in SOURCES for word in load_source(source).missing} | {"unnamed", "baby"}
    for column in ("given", "middle", "family", "other_family"):
        assert not words - {""} & set(persons[column].str.to_lowercase())


# Files


def test_the_truth_stands_apart(draws: list[Path]) -> None:
    folder = draws[0]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    truth = {"truth/persons.parquet", "truth/records.parquet", "truth/summary.json"}
    assert files == truth | {"manifest.json"} | {f"extracts/{s}/{name}" for s, name in FILES.items()}
    assert "true_n" not in (folder / "manifest.json").read_text()
    persons = pl.read_parquet(folder / "truth" / "persons.parquet")
    assert persons["person"].is_unique().all() and persons["counted"].sum() == MILWAUKEE.people
    for source in SOURCES:
        raw = read_raw(folder, source)
        assert not {"person", "counted", "tier", "list"} & {column.casefold() for column in raw.columns}
        number = load_source(source).person_number
        order = pl.read_parquet(folder / "truth" / "records.parquet").filter(source=source)
        ranks = (
            raw.select(pl.col(number).alias("local_id"))
            .unique()
            .sort("local_id")
            .join(order, on="local_id", maintain_order="left")
        )
        corr = ranks.with_row_index().select(pl.corr("index", "person")).item()
        assert abs(corr) < 0.25  # local numbers tell nothing about the person's number


def test_the_manifest_describes_the_files(draws: list[Path]) -> None:
    manifest = json.loads((draws[0] / "manifest.json").read_text())
    assert manifest["scenario"] == "milwaukee" and manifest["seed"] == SEEDS[0]
    for file in manifest["files"]:
        path = draws[0] / file["path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    rows = {file["path"]: file["rows"] for file in manifest["files"]}
    assert rows["extracts/pohsey/pohsey.xlsx"] == read_raw(draws[0], "pohsey").height


def test_the_same_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    one, same, other = (
        draw_population(MILWAUKEE, seed, tmp_path / name, people=150, chunk=60)
        for seed, name in ((5, "one"), (5, "same"), (6, "other"))
    )
    assert one == same
    assert {file["sha256"] for file in one["files"]}.isdisjoint({file["sha256"] for file in other["files"]})


def test_list_sizes_scale_over_chunks(large: Path) -> None:
    summary = json.loads((large / "truth" / "summary.json").read_text())
    assert summary["true_n"] == 20_000 == sum(summary["patterns"].values())
    assert summary["lists"]["mpd"] == round(340 / 1100 * 20_000)
    assert summary["lists"]["pohsey"] == round(143 / 1100 * 20_000)
    persons = pl.read_parquet(large / "truth" / "persons.parquet")
    assert persons["mpd_complete"].sum() == round(231 / 1100 * 20_000)
    assert persons["person"].to_list() == list(range(len(persons)))


def test_memory_is_bounded_by_the_chunk(tmp_path: Path) -> None:
    peaks = []
    draw_population(MILWAUKEE, 1, tmp_path / "warm", people=150)  # the name tables stay in memory
    for people in (600, 3_000):
        tracemalloc.start()
        draw_population(MILWAUKEE, 1, tmp_path / str(people), people=people, chunk=300)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]  # five times the people; rows kept would show as five times the memory


def test_a_draw_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(_: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        draw_population(MILWAUKEE, 1, tmp_path, people=100, progress=stop)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="too few"):
        draw_population(MILWAUKEE, 1, tmp_path, people=10)
    with pytest.raises(ContractError) as unknown:
        find_scenario("nowhere")
    assert unknown.value.hint is not None and "milwaukee" in unknown.value.hint
    assert load_policy().scope.jurisdiction == MILWAUKEE.jurisdiction


def test_lists_of_all_scenarios_are_alike_in_size_and_lean_on_each_other_more_or_less() -> None:
    leaning = {}
    for scenario in SCENARIOS.values():
        rng = np.random.default_rng(5)
        found = [draw_lists(scenario, draw_latent(scenario, 1100, rng), 340, 143, rng) for _ in range(20)]
        for name, size in (("dcf", 290), ("medical", 155)):
            assert abs(np.mean([lists[name].sum() for lists in found]) - size) < 0.1 * size
        cells = [
            np.bincount(2 * lists[one] + lists[other], minlength=4) + 0.5
            for lists in found
            for one, other in combinations(("mpd", "dcf", "pohsey", "medical"), 2)
        ]
        ratios = np.log([cell[3] * cell[0] / (cell[1] * cell[2]) for cell in cells]).reshape(20, 6)
        leaning[scenario.name] = ratios.mean(axis=0)
    assert np.abs(leaning["loose"]).max() < 0.15
    assert (leaning["milwaukee"] > 0.3).all()
    assert (leaning["tight"] > 1.5 * leaning["milwaukee"]).all()


def test_fixed_size_sampling_keeps_its_chances() -> None:
    import numpy as np

    rng = np.random.default_rng(1)
    weights = np.array([1.0, 1.0, 2.0, 4.0, 30.0])
    taken = np.array([fixed_size(rng, weights, 3) for _ in range(4_000)])
    assert (taken.sum(axis=1) == 3).all()
    assert np.allclose(taken.mean(axis=0), [0.25, 0.25, 0.5, 1.0, 1.0], atol=0.03)


def test_the_command_writes_a_population(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from linkage.cli.lab import app

    line = ["population", "--scenario", "milwaukee", "--seed", "4", "--out", str(tmp_path), "--people", "80"]
    app([*line, "--json"], result_action="return_value")
    manifest = json.loads(capsys.readouterr().out)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    app(line, result_action="return_value")
    shown = capsys.readouterr()
    assert shown.out == "" and "mpd.csv" in shown.err
