"""``schemas/research.md`` says what the analysis writes: every field of real files is in it, and no other.

The page is read as a schema: each heading with a table is the shape of an object, a link in the column of types is a
shape, and the column of nulls says whether a field may be null or absent.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from pydantic import BaseModel

from linkage.cli import main
from linkage.research import bundle
from linkage.research.analysis import Effort, analyse
from linkage.research.estimate import Thresholding, parse_histories
from linkage.research.estimate.hierarchical import HierarchicalStrata
from linkage.research.estimate.result import REASONS

PAGE = Path(__file__).resolve().parents[2] / "schemas" / "research.md"
PLAIN = {"text": str, "integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True)
class Field:
    """A row of a table: type, and whether it may be null or absent."""

    kind: str
    null: str

    @property
    def may_be_absent(self) -> bool:
        return "absent" in self.null

    @property
    def may_be_null(self) -> bool:
        said = [part.strip() for part in self.null.split(";")]
        return not all(part.startswith(("absent", "never", "entries")) for part in said)


@dataclass
class Schema:
    """The page, by heading; ``seen`` collects what occurred in a file."""

    shapes: dict[str, dict[str, Field]]
    details: set[str]
    seen: set[tuple[str, str]] = field(default_factory=set)

    def walk(self, value: Any, kind: str, at: str) -> Iterator[str]:
        """Hold a value to a type, and give what is wrong."""
        if link := re.fullmatch(r"\[.*\]\(#(.*)\)", kind):
            yield from self.shape(value, link[1].replace("-", " "), at)
        elif kind.startswith("list of "):
            if not isinstance(value, list):
                yield f"{at}: no list"
                return
            for item in value:
                yield from self.walk(item, kind.removeprefix("list of "), f"{at}[]")
        elif kind.startswith("object of "):
            if not isinstance(value, dict):
                yield f"{at}: no object"
                return
            for key, item in value.items():
                yield from self.walk(item, kind.removeprefix("object of ").split(" by ")[0], f"{at}.{key}")
        elif kind == "value":
            if not isinstance(value, str | int | float | None):
                yield f"{at}: no plain value"
        elif kind != "weight or condition" and (
            not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind != "boolean")
        ):
            yield f"{at}: no {kind}"

    def shape(self, value: Any, name: str, at: str) -> Iterator[str]:
        """Hold an object to a table."""
        if not isinstance(value, dict):
            yield f"{at}: no object"
            return
        fields = self.shapes[name]
        yield from (f"{at}.{key}: not on the page" for key in value.keys() - fields.keys())
        yield from (f"{at}.{key}: absent" for key, f in fields.items() if key not in value and not f.may_be_absent)
        for key in value.keys() & fields.keys():
            self.seen.add((name, key))
            if value[key] is None:
                yield from () if fields[key].may_be_null else (f"{at}.{key}: null",)
            else:
                yield from self.walk(value[key], fields[key].kind, f"{at}.{key}")
        for key in value.get("details", {}) if "details" in fields else ():
            if not any(re.fullmatch(known.replace("*", ".+"), key) for known in self.details):
                yield f"{at}.details.{key}: not on the page"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def read_page() -> Schema:
    sections = re.split(r"(?m)^##+ (.*)$", PAGE.read_text("utf-8"))[1:]
    shapes: dict[str, dict[str, Field]] = {}
    bases: dict[str, str] = {}
    details: set[str] = set()
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        rows = [cells(line) for line in text.splitlines() if line.startswith("| `")]
        if title == "Details":
            details = {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
        elif "| field |" in text:
            shapes[title.lower()] = {
                name: Field(row[1], row[3]) for row in rows for name in re.findall(r"`([^`]+)`", row[0])
            }
            if base := re.search(r"All fields of \[(.*?)\]", text):
                bases[title.lower()] = base[1]
    for name, own in shapes.items():
        for key, entry in own.items():
            if link := re.fullmatch(r"as in \[(.*?)\].*", entry.kind):
                own[key] = shapes[link[1]][key]
        if name in bases:
            shapes[name] = shapes[bases[name]] | own
    return Schema(shapes, details)


@pytest.fixture(scope="module")
def schema() -> Schema:
    return read_page()


HISTORIES = """mpd,dcf,pohsey,medical,sex,count
1,0,0,0,f,120\n0,1,0,0,f,95\n0,0,1,0,f,60\n0,0,0,1,f,80\n1,1,0,0,f,30\n1,0,1,0,f,18\n0,1,1,0,f,22\n1,0,0,1,f,14
0,1,0,1,f,17\n1,1,1,0,f,9\n1,1,0,1,f,6\n1,1,1,1,f,3\n1,0,0,0,m,20\n0,1,0,0,m,15\n0,0,1,1,m,2
"""
REFUSED = "a,b,c,count\n1,0,0,30\n0,1,0,20\n0,0,1,25\n1,1,0,2\n0,1,1,1\n1,0,1,1\n"


def told(*words: str) -> Any:
    """What a command writes as JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*words, "--json"]) == 0
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def estimates(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """One with strata, and a refusal."""
    found = []
    for content in (HISTORIES, REFUSED):
        table = tmp_path_factory.mktemp("table") / "histories.csv"
        table.write_text(content, "utf-8")
        found.append(told("research", "estimate", str(table), "--resamples", "100"))
    return found


def test_an_estimate_is_on_the_page(schema: Schema, estimates: list[Any]) -> None:
    assert [found["verdict"]["status"] for found in estimates] == ["estimated", "refused"]
    assert len(estimates[0]["strata"]) == 2
    for found in estimates:
        assert list(schema.shape(found, "estimate", "")) == []


def test_what_thresholding_says_is_on_the_page(schema: Schema) -> None:
    """Its details have names of their own; it is in an estimate with --slow."""
    table = parse_histories(pl.read_csv(io.StringIO(HISTORIES)), lists=["mpd", "dcf", "pohsey", "medical"]).pooled
    result = Thresholding().fit(table)
    assert result.ok and list(schema.shape(result.to_dict(), "result", "")) == []


@pytest.fixture(scope="module")
def analysis(maker: Any) -> dict[str, Any]:
    """An analysis with draws, populations by sex, strata that are refused and that lend each other strength."""
    world = maker.world(1000, 2)
    rate = {"value": 0.95, "low": 0.9, "high": 0.98}
    pairs = [
        {**entry, "links": 100, "expected_matches": 102.0, "precision": rate, "recall": rate}
        for entry in world.quality["by_sources"]
    ]
    quality = {**world.quality, "by_sources": pairs, "posterior": {"converged": True, "effective_draws": 4.0}}
    rows = world.person_map.with_row_index("record").select(pl.col("record").cast(pl.UInt32), draw_0="person")
    people = [(sex, year, 60_000) for year in range(2013, 2017) for sex in ("female", "male")]
    found = analyse(
        world.facts,
        world.person_map,
        month="2026-11",
        draws=rows.with_columns(draw_1="draw_0", draw_2="draw_0"),
        quality=quality,
        policy=maker.policy(),
        referrals=[("dcf", "pohsey")],
        denominators=pl.DataFrame(people, schema=["sex", "year", "population"], orient="row"),
        effort=Effort(100, 3, chains=False, pooling=HierarchicalStrata(chains=2, warm_up=60, draws=400)),
    )
    plain: dict[str, Any] = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    return plain


def test_an_analysis_is_on_the_page(schema: Schema, analysis: dict[str, Any]) -> None:
    assert analysis["verdict"]["status"] == "estimated" and analysis["series"]["difference"] is not None
    assert list(schema.shape(analysis, "analysis", "")) == []


def test_a_release_is_on_the_page(schema: Schema, small_release: Any) -> None:
    found = json.loads((small_release.folder / bundle.DOCUMENT).read_text("utf-8"))
    assert list(schema.shape(found, "release", "")) == []


MODELS = {
    "release": bundle.Document,
    "released estimate": bundle.EstimateEntry,
    "released method": bundle.MethodEntry,
    "linkage": bundle.LinkageEntry,
    "share": bundle.Rate,
    "pair of sources": bundle.PairEntry,
    "group": bundle.GroupEntry,
    "measured": bundle.MeasuredEntry,
    "measured pair": bundle.MeasuredPair,
    "source": bundle.SourceEntry,
    "table": bundle.TableEntry,
    "cell": bundle.CellEntry,
}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation holds, and those in their fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for entry in annotation.model_fields.values():
            yield from models_in(entry.annotation)
    for part in get_args(annotation):
        yield from models_in(part)


def test_every_model_of_a_release_has_its_table(schema: Schema) -> None:
    assert set(models_in(bundle.Document)) == set(MODELS.values())
    for name, model in MODELS.items():
        assert set(schema.shapes[name]) == set(model.model_fields), name
        for key, entry in model.model_fields.items():
            said = schema.shapes[name][key]
            assert type(None) not in get_args(entry.annotation) or said.may_be_null or said.may_be_absent, (name, key)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("coverage") / "study"
    words = ["--runs", "1", "--people", "260", "--seed", "3", "--draws", "2", "--resamples", "50"]
    found = told("lab", "coverage", str(folder), *words)
    assert found == json.loads((folder / "coverage.json").read_text("utf-8"))
    return found


def test_a_study_is_on_the_page(schema: Schema, study: Any) -> None:
    assert list(schema.shape(study, "study", "")) == []


def test_every_reason_is_on_the_page_in_its_words(schema: Schema) -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    wanted = [f"| `{code}` | status, reason | {words} |" for code, (words, _) in REASONS.items()]
    assert [row for row in wanted if row not in lines] == []
    listed = {line.split("`")[1] for line in lines if "` | status, reason |" in line}
    assert listed == set(REASONS)


def test_nothing_is_on_the_page_that_never_occurs(estimates: list[Any], analysis: dict[str, Any], study: Any) -> None:
    """Of a release the models speak, in a test of their own."""
    schema = read_page()
    files = [("estimate", found) for found in estimates] + [("analysis", analysis), ("study", study)]
    assert [problem for name, found in files for problem in schema.shape(found, name, "")] == []
    apart = {*MODELS, "report"}  # no object is a report and nothing else
    documented = {(name, key) for name, fields in schema.shapes.items() if name not in apart for key in fields}
    inherited = {(name, key) for name in ("stratum", "unit") for key in ("strata", "not_identified")}
    assert documented - schema.seen - inherited == set()


def test_a_field_that_is_not_on_the_page_is_found(schema: Schema, analysis: dict[str, Any]) -> None:
    other = read_page()
    changed = json.loads(json.dumps(analysis))
    changed["families"][0]["surprise"] = 1
    changed["series"]["years"][0]["verdict"]["low"] = "many"
    changed["diagnostics"]["estimators"][0]["result"]["details"]["new"] = 1
    del changed["strata"][0]["sum"]["total"]["model"]
    changed["partition_draws"]["used"] = None
    problems = set(other.shape(changed, "analysis", "")) - set(other.shape(analysis, "analysis", ""))
    assert {problem.rpartition(": ")[0].split(".")[-1] for problem in problems} == {
        "surprise",
        "low",
        "new",
        "model",
        "used",
    }
