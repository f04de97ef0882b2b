"""Rates over populations, series over years, and the difference between two periods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.errors import EstimateError
from linkage.research.estimate import Chao, HistoryTable, Result, Stepwise, parse_histories
from linkage.research.estimate.arithmetic import Estimated, contrast
from linkage.research.estimate.prevalence import population, prevalence, prevalence_of_strata, read_denominators
from linkage.research.estimate.result import refused
from linkage.research.estimate.series import series, series_over_draws
from linkage.research.estimate.strata import over_strata

LISTS = ("A", "B", "C")
GOOD = """sex,year,population
female,2013,40000
male,2013,41000
female,2014,42000
male,2014,43000
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "denominators.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def posterior(mean: float, spread: float = 10.0, seed: int = 0) -> Result:
    draws = np.random.default_rng(seed).normal(mean, spread, 4000)
    low, middle, high = np.quantile(draws, (0.025, 0.5, 0.975))
    return Result("m", "x", middle, low, high, draws=draws)


def seen(number: int, seed: int) -> HistoryTable:
    rng = np.random.default_rng(seed)
    return HistoryTable(LISTS, np.bincount((rng.random((number, 3)) < 0.3) @ (1, 2, 4), minlength=8)[1:])


def rows(table: HistoryTable, **values: object) -> pl.DataFrame:
    cells = np.arange(1, 8)
    lists = {name: (cells >> j) & 1 for j, name in enumerate(table.lists)}
    return pl.DataFrame({**lists, "count": table.counts, **{name: [value] * 7 for name, value in values.items()}})


# --- denominators


def test_denominators_are_read_and_added_up(tmp_path: Path) -> None:
    frame = read_denominators(written(tmp_path, "\ufeff" + GOOD))
    assert frame.rows()[0] == ("female", 2013, 40000)
    assert population(frame, [2013], {"sex": "male"}) == 41000
    assert population(frame, [2013]) == 81000
    assert population(frame, [2013, 2014]) == (81000 + 85000) / 2
    assert population(frame, [2014, 2014], {"sex": "female", "year": "2014"}) == 42000


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("female,2015,-5", "row 6, column population: not a whole number above zero"),
        ("female,2015,0", "row 6, column population: not a whole number above zero"),
        ("female,2015,1e5", "row 6, column population: not a whole number above zero"),
        ("female,2015,10.5", "row 6, column population: not a whole number above zero"),
        ('female,2015,"41,000"', "row 6, column population: not a whole number above zero"),
        ("female,2015,", "row 6, column population: not a whole number above zero"),
        ("female,2015,999999999999999999", "row 6, column population: not a whole number above zero"),
        ("female,2015/16,5", "row 6, column year: not a year of four digits"),
        ("female,15,5", "row 6, column year: not a year of four digits"),
        ("female,٢٠١٥,5", "row 6, column year: not a year of four digits"),
        (",2015,5", "row 6, column sex: no value"),
        ("female,2013,5", "row 6: the same strata and year as row 2"),
        ("female,2015", "row 6: 2 fields where the header has 3"),
        ("female,2015,5,5", "row 6: 4 fields where the header has 3"),
    ],
)
def test_faults_are_told_by_row_and_column(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(EstimateError) as caught:
        read_denominators(written(tmp_path, GOOD + line + "\n"))
    assert caught.value.reason == "bad-denominators"
    assert caught.value.problems == (problem,)


def test_all_faults_are_told_at_once_and_no_value_is(tmp_path: Path) -> None:
    text = GOOD + "secret,x,y\n" + "female,20x5,5\n" * 30
    with pytest.raises(EstimateError) as caught:
        read_denominators(written(tmp_path, text))
    assert len(caught.value.problems) == 21 and "more" in caught.value.problems[-1]
    assert "secret" not in str(caught.value) and "20x5" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no-rows"),
        ("year,population\n", "no-rows"),
        ("year,people\n2013,5\n", "bad-header"),
        ("sex,population\nfemale,5\n", "bad-header"),
        ("year,year,population\n1,2,3\n", "bad-header"),
        ("year,,population\n2013,a,5\n", "bad-header"),
        ("year;population\n2013;5\n", "bad-header"),
        ('year,population\n"2013,5\n', "bad-csv"),
        ("year,population\n2013,5\n".encode("utf-16"), "bad-encoding"),
        ("größe,year,population\na,2013,5\n".encode("latin-1"), "bad-encoding"),
    ],
)
def test_files_that_are_no_denominators_are_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(EstimateError) as caught:
        read_denominators(written(tmp_path, text))
    assert caught.value.reason == reason


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(EstimateError) as caught:
        read_denominators(tmp_path / "nothing.csv")
    assert caught.value.reason == "not-found"


@given(st.binary(max_size=200) | st.text("yearpopultin,0123456789\n\"' ", max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        frame = read_denominators(path)
    except EstimateError:
        return
    assert frame.height > 0 and frame["population"].min() > 0


@pytest.mark.parametrize(
    ("years", "strata"),
    [([2012], None), ([2013, 2017], None), ([2013], {"sex": "other"}), ([2013], {"race": "black"}), ([], None)],
)
def test_a_population_that_is_not_there_is_refused(tmp_path: Path, years: list[int], strata: dict[str, str]) -> None:
    frame = read_denominators(written(tmp_path, GOOD))
    with pytest.raises(EstimateError) as caught:
        population(frame, years, strata)
    assert caught.value.reason == "no-denominator"


def test_years_with_different_strata_are_not_averaged(tmp_path: Path) -> None:
    frame = read_denominators(written(tmp_path, GOOD + "female,2015,5\n"))
    assert population(frame, [2014, 2015], {"sex": "female"}) == 21002.5
    with pytest.raises(EstimateError):
        population(frame, [2014, 2015])


WOMEN = "sex,year,population\nfemale,2013,40000\nfemale,2014,42000\n"
PEOPLE = [{"sex": sex} for sex in ("female", "male", "transgender_male", "unknown")]


def test_a_population_of_part_of_the_people_is_refused_with_the_others_named(tmp_path: Path) -> None:
    women, both = read_denominators(written(tmp_path, WOMEN)), read_denominators(written(tmp_path, GOOD))
    for years in ([2013], [2013, 2014]):
        with pytest.raises(EstimateError) as caught:
            population(women, years, None, PEOPLE)
        assert caught.value.reason == "partial-population"
        assert caught.value.problems == ("sex male", "sex transgender_male")
        assert population(women, years, {"sex": "female"}, PEOPLE) == population(women, years, {"sex": "female"})
    with pytest.raises(EstimateError) as caught:
        population(both, [2013], None, PEOPLE)
    assert caught.value.problems == ("sex transgender_male",)
    assert population(both, [2013], None, PEOPLE[:2] + PEOPLE[3:]) == 81000  # unknown asks for none
    gone = read_denominators(written(tmp_path, WOMEN + "male,2013,41000\n"))
    assert population(gone, [2013], None, PEOPLE[:2]) == 81000
    with pytest.raises(EstimateError) as caught:
        population(gone, [2013, 2014], None, PEOPLE[:2])
    assert (caught.value.reason, caught.value.problems) == ("partial-population", ("sex male",))


def test_a_file_by_two_properties_needs_both_together(tmp_path: Path) -> None:
    text = "sex,race,year,population\nfemale,black,2013,10\nmale,white,2013,10\nfemale,white,2013,10\n"
    frame = read_denominators(written(tmp_path, text))

    def lacking(*people: tuple[str, str], **strata: str) -> tuple[str, ...]:
        try:
            population(frame, [2013], strata, [dict(zip(("sex", "race"), person, strict=True)) for person in people])
        except EstimateError as error:
            assert error.reason == "partial-population"
            return error.problems
        return ()

    assert lacking(("female", "black"), ("unknown", "white"), ("male", "unknown"), ("unknown", "unknown")) == ()
    assert lacking(("male", "black"), ("female", "black")) == ("sex male, race black",)
    assert lacking(("male", "latino"), ("unknown", "latino")) == ("race latino",)
    assert lacking(("male", "black"), sex="female") == ()
    assert lacking(("male", "black"), sex="male") == ("race black",)


VALUES = {"sex": ("female", "male")}


@pytest.mark.parametrize("value", ["F", "Female", "martian", "transgender_male"])
def test_a_value_that_no_stratum_has_is_refused_with_those_that_are_accepted(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, GOOD + f"unknown,2013,5\n{value},2013,5\n")
    assert read_denominators(path).height == 6  # any value, where none are named
    with pytest.raises(EstimateError) as caught:
        read_denominators(path, VALUES)
    assert caught.value.problems == ("row 7, column sex: not one of female, male, unknown",)
    assert value not in str(caught.value).replace("female, male", "")


def test_a_column_that_is_no_stratum_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "gender,year,population\nfemale,2013,5\n")
    with pytest.raises(EstimateError) as caught:
        read_denominators(path, VALUES)
    assert (caught.value.reason, caught.value.hint) == ("bad-header", "strata may be `sex`")
    assert caught.value.problems == ("column 1 is none of them",)


# --- rates


def test_a_rate_is_the_estimate_over_the_population() -> None:
    item = Estimated({"sex": "female"}, 300, posterior(1000))
    found = prevalence(item, 40_000)
    assert found.rate == pytest.approx(item.result.n_hat / 40)
    assert (found.lower, found.upper) == pytest.approx((item.result.lower / 40, item.result.upper / 40))
    assert np.quantile(found.draws, [0.025, 0.975]) == pytest.approx([found.lower, found.upper], rel=1e-3)
    assert prevalence(item, 40_000, per=100_000).rate == pytest.approx(item.result.n_hat * 2.5)
    assert found.to_dict()["sex"] == "female"


def test_more_people_than_there_are_is_refused() -> None:
    item = Estimated({}, 300, posterior(1000))
    assert prevalence(item, 900).status == "above-population" and prevalence(item, 900).rate is None
    near = prevalence(item, 1010)
    assert near.ok and near.upper == 1000 and near.notes == ("the interval reaches beyond the population",)
    assert prevalence(Estimated({}, 300, refused("m", "x", "unbounded")), 900).status == "unbounded"
    assert prevalence(Estimated({}, 300, Result("m", "x", 500.0, None, None)), 900).status == "no-interval"
    for people in (0, -1, float("nan"), float("inf")):
        with pytest.raises(EstimateError):
            prevalence(item, people)


def test_the_total_is_over_the_population_of_the_estimated_strata(tmp_path: Path) -> None:
    frame = read_denominators(written(tmp_path, GOOD + "other,2013,2000\nother,2014,2000\n"))
    poor = HistoryTable(LISTS, np.array([40, 30, 2, 20, 0, 0, 0]))
    parts = {"female": seen(2000, 1), "male": seen(1000, 2), "other": poor}
    found = over_strata(parse_histories(pl.concat([rows(t, sex=s) for s, t in parts.items()]), lists=LISTS), Chao().fit)
    rates, whole = prevalence_of_strata(found, frame, [2013, 2014])
    assert [rate.status for rate in rates] == ["ok", "ok", "too-few-lists"]
    assert rates[0].rate == pytest.approx(found.strata[0].result.n_hat / 41_000 * 1000)
    assert whole.population == 41_000 + 42_000
    assert whole.rate == pytest.approx(found.total.result.n_hat / 83_000 * 1000)
    assert whole.notes == ("of the estimated strata: 1 have no estimate",)
    # An estimated stratum without a population leaves the total without one too.
    _, without = prevalence_of_strata(found, frame.filter(pl.col("sex") != "male"), [2013, 2014])
    assert without.status == "no-denominator" and without.rate is None
    by_race = frame.with_columns(race=pl.lit("white"))
    people = [{"sex": "female", "race": "white"}, {"sex": "male", "race": "black"}]
    rates, part = prevalence_of_strata(found, by_race, [2013, 2014], people=people)
    assert [rate.status for rate in rates] == ["ok", "partial-population", "too-few-lists"]
    assert rates[1].notes == ("no population for race black",) and part.status == "partial-population"


# --- series


def test_a_series_has_a_year_each_and_compares_them(tmp_path: Path) -> None:
    tables = {2013: seen(2000, 1), 2014: seen(3000, 2), 2015: HistoryTable(LISTS, np.array([9, 9, 1, 9, 0, 0, 0]))}
    histories = parse_histories(pl.concat([rows(t, year=str(y)) for y, t in tables.items()]), lists=LISTS)
    found = series(histories, Stepwise(resamples=300).fit)
    assert [y.values["year"] for y in found.years] == ["2013", "2014", "2015"]
    assert [y.result.status for y in found.years] == ["ok", "ok", "too-few-lists"]
    change = found.difference(2013, 2014)
    assert change.difference_lower < 1000 < change.difference_upper
    assert change.ratio_lower < 1.5 < change.ratio_upper
    assert change.increase > 0.99 and not change.paired
    spread = np.hypot(found[2013].result.draws.std(), found[2014].result.draws.std())
    assert change.draws.std() == pytest.approx(spread, rel=0.1)
    frame = read_denominators(written(tmp_path, "year,population\n2013,50000\n2014,90000\n2015,90000\n"))
    rated = found.with_denominators(frame)
    assert rated.rates()[0].rate == pytest.approx(found[2013].result.n_hat / 50)
    assert rated.rates()[2].status == "too-few-lists"
    # More people and a smaller rate.
    assert rated.difference_of_rates(2013, 2014).difference < 0 < change.difference
    # More people than there are: that year has no rate, and so no difference of rates.
    for text in ("2013,500\n2014,90000\n", "2013,50000\n2014,500\n"):
        small = found.with_denominators(read_denominators(written(tmp_path, f"year,population\n{text}")))
        with pytest.raises(EstimateError) as caught:
            small.difference_of_rates(2013, 2014)
        assert caught.value.reason == "above-population"
    assert len(found.to_dict()["years"]) == 3


def test_what_cannot_be_compared_is_refused() -> None:
    tables = {2013: seen(2000, 1), 2014: HistoryTable(LISTS, np.array([9, 9, 1, 9, 0, 0, 0]))}
    histories = parse_histories(pl.concat([rows(t, year=str(y)) for y, t in tables.items()]), lists=LISTS)
    found = series(histories, Chao().fit)
    for action, reason in (
        (lambda: found.difference(2013, 2014), "no-estimate"),
        (lambda: found.difference(2013, 2020), "no-such-year"),
        (lambda: found.rates(), "no-denominator"),
        (lambda: series(parse_histories(rows(tables[2013], sex="a"), lists=LISTS), Chao().fit), "bad-histories"),
        (lambda: series(parse_histories(rows(tables[2013], year="unknown"), lists=LISTS), Chao().fit), "bad-histories"),
        (lambda: series(parse_histories(rows(tables[2013]), lists=LISTS), Chao().fit), "bad-histories"),
    ):
        with pytest.raises(EstimateError) as caught:
            action()
        assert caught.value.reason == reason


def test_years_over_the_same_partitions_are_paired() -> None:
    rng = np.random.default_rng(4)
    base = {2013: seen(5000, 1), 2014: seen(5000, 2)}
    frames = []
    for draw, share in enumerate(rng.uniform(0, 0.3, 25)):
        for year, table in base.items():
            counts = table.counts.copy()
            for cell in (3, 5, 6):  # linkage that misses a share of who is on two lists
                gone = int(share * counts[cell - 1])
                counts[cell - 1] -= gone
                for j in range(3):
                    counts[(1 << j) - 1] += gone * (cell >> j & 1)
            frames.append(rows(HistoryTable(LISTS, counts), year=str(year), draw=draw))
    frame = pl.concat(frames)
    same = series_over_draws(frame, LISTS, Chao().fit, partitions="p")
    change = same.difference(2013, 2014)
    assert change.paired
    apart = series_over_draws(frame.filter(pl.col("year") == "2014"), LISTS, Chao().fit, partitions="q")
    loose = contrast(same[2013], apart[2014])
    assert not loose.paired
    assert change.draws.std() < 0.8 * loose.draws.std()
    assert same[2013].estimate.linkage_share > 0.3
