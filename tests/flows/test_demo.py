"""The whole main job as a newcomer runs it, once; then a search for people and keys in everything it left behind."""

from __future__ import annotations

import base64
import datetime as dt
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.exchange import load_party
from linkage.exchange.approval.shared import load_opening, open_share
from linkage.exchange.custody.shares import join

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("mpd", "dcf", "pohsey", "medical")
_WORD = re.compile(rb"(?<![A-Za-z])[A-Za-z]{5,}(?![A-Za-z])")
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Demo:
    """A finished demo: ``work`` holds its folder, the account's home and the system's temporary folder."""

    work: Path
    done: subprocess.CompletedProcess[bytes]

    @property
    def folder(self) -> Path:
        return self.work / "demo"

    @property
    def release(self) -> Path:
        (release,) = (self.folder / "county" / "releases").iterdir()
        return release

    def truth(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "population" / "truth" / f"{name}.parquet")

    def outputs(self) -> dict[str, bytes]:
        """Everything that was written, but for what the agencies had before and the keys' own folders."""
        withheld = [self.folder / "population" / "extracts", self.folder / "population" / "truth"]
        found = {"stdout": self.done.stdout, "stderr": self.done.stderr}
        for path in self.work.rglob("*"):
            inside = any(path.is_relative_to(folder) for folder in withheld) or path.parent.name == "keys"
            if path.is_file() and not inside:
                found[str(path.relative_to(self.work))] = path.read_bytes()
        return found


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    work = tmp_path_factory.mktemp("demo")
    for name in ("home", "tmp"):
        (work / name).mkdir()
    # A server that the account's environment names must be passed over.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }
    installed = shutil.which("linkage", path=str(Path(sys.executable).parent))
    assert installed
    words = [installed, "demo", "--out", str(work / "demo"), "--seed", "7"]
    return Demo(work, subprocess.run(words, env=environment, cwd=work, capture_output=True, check=False))


def test_it_ends_well_with_the_table_and_a_release_that_verifies(demo: Demo) -> None:
    assert demo.done.returncode == 0, demo.done.stderr.decode()
    printed = demo.done.stdout.decode()
    for words in (
        "persons on list mpd",
        "on both dcf and pohsey",
        "deduplicated persons",
        "estimated persons",
        "truth",
    ):
        assert words in printed
    summary = json.loads((demo.folder / "population" / "truth" / "summary.json").read_text())
    assert f"{summary['true_n']:,}" in printed
    assert str(demo.release / "report.html") in printed
    assert (demo.release / "report.html").stat().st_size > 10_000
    installed = shutil.which("linkage", path=str(Path(sys.executable).parent))
    signer = demo.folder / "county" / "analysis" / "keys" / "analysis.pub"
    words = [str(installed), "research", "verify", str(demo.release), "--signer", str(signer), "--json"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_what_is_published_is_near_the_truth(demo: Demo) -> None:
    summary = json.loads((demo.folder / "population" / "truth" / "summary.json").read_text())
    document = json.loads((demo.release / "release.json").read_text())
    assert document["persons"] is None or abs(document["persons"] / summary["observed"] - 1) < 0.1


def test_the_account_and_the_system_are_left_as_they_were(demo: Demo) -> None:
    assert not (demo.work / "home" / ".prefect").exists()
    assert not list((demo.work / "tmp").iterdir())
    assert not list(demo.folder.rglob("*.part"))
    assert {path.name for path in demo.work.iterdir()} == {"demo", "home", "tmp"}
    for key in demo.folder.rglob("*.key"):
        assert key.stat().st_mode & 0o077 == 0


def test_the_demo_does_not_touch_a_folder_that_is_in_use(demo: Demo) -> None:
    before = sorted(demo.folder.rglob("*"))
    installed = shutil.which("linkage", path=str(Path(sys.executable).parent))
    words = [str(installed), "demo", "--out", str(demo.folder)]
    again = subprocess.run(words, capture_output=True, check=False)
    assert (again.returncode, b"holds something already" in again.stderr) == (2, True)
    assert sorted(demo.folder.rglob("*")) == before


def test_prefects_database_knows_paths_months_and_names_alone(demo: Demo) -> None:
    with sqlite3.connect(f"file:{demo.folder / 'prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
        runs = database.execute("select name, parameters from flow_run").fetchall()
        states = database.execute("select distinct state_type from flow_run").fetchall()
        artifacts = [json.loads(row[0]) for row in database.execute("select data from artifact where type = 'table'")]
    assert (len(runs), states) == (len(SOURCES) + 3, [("COMPLETED",)])
    for _, parameters in runs:
        for value in json.loads(parameters).values():
            assert value in SOURCES or re.fullmatch(r"\d{4}-\d\d", value) or value.startswith(str(demo.folder))
    assert len(artifacts) == len(SOURCES) + 2
    assert not list((demo.folder / "prefect").glob("storage/*"))


# --- nobody in it


def _plain_words() -> set[bytes]:
    """Words that are there anyway, in lower case: those of this program, of Prefect, and of its names for runs."""
    found: set[bytes] = set()
    for package in ("prefect", "coolname"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        folder = Path(spec.origin).parent
        for suffix in ("*.py", "*.txt", "*.json"):
            for path in folder.rglob(suffix):
                if "ui" not in path.parts and "ui-v2" not in path.parts:
                    found |= {word.lower() for word in _WORD.findall(path.read_bytes())}
    for folder in ("linkage", "flows", "schemas"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".py", ".yaml", ".md", ".json", ".html", ".css", ".j2"):
                found |= {word.lower() for word in _WORD.findall(path.read_bytes())}
    return found


def _surnames(demo: Demo) -> set[bytes]:
    persons = demo.truth("persons")
    names = pl.concat([persons["family"], persons["other_family"]]).drop_nulls().unique().to_list()
    return {name.lower().encode() for name in names if len(name) >= 5 and name.isascii() and name.isalpha()}


def _dates(demo: Demo) -> set[bytes]:
    """Every birth date as anybody might write it."""
    forms = (
        "%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%m-%d-%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y",
        "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%m/%d/%y",
    )  # fmt: skip
    days: list[dt.date] = demo.truth("persons")["birth_date"].drop_nulls().unique().to_list()
    written = {day.strftime(form) for day in days for form in forms}
    written |= {f"{day.month}/{day.day}/{day.year}" for day in days}
    return {entry.encode() for entry in written}


_DATE = re.compile(
    rb"(?<![0-9A-Za-z])(?:\d{4}[-/.]\d\d[-/.]\d\d|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d\d)|\d{8}"
    rb"|\d{1,2}[- ][A-Z][a-z]{2}[- ]\d{4}|[A-Z][a-z]{2,8} \d\d, \d{4})(?![0-9A-Za-z])"
)


def _numbers(demo: Demo) -> set[bytes]:
    """Phone numbers, social security numbers and the agencies' own person numbers."""
    persons, records = demo.truth("persons"), demo.truth("records")
    found = [*persons["phone"].drop_nulls(), *persons["ssn"].drop_nulls(), *records["local_id"].drop_nulls()]
    return {str(entry).encode() for entry in found if len(str(entry)) >= 9}


_NUMBER = re.compile(rb"(?<![0-9A-Za-z])(?:\d{3}-\d\d-\d{4}|[A-Z]{1,2}-?\d{6,}|\d{9,12})(?![0-9A-Za-z])")


def _secrets(demo: Demo) -> dict[str, bytes]:
    """Every way to write every secret of every key file, and of the hub's opening key, which no file has."""
    found: dict[str, bytes] = {}
    whole: dict[str, bytes] = {}
    for path in demo.folder.rglob("*.key"):
        content = json.loads(path.read_bytes().split(b"\n")[1])
        for name in {"secret", "signing", "mldsa65", "opening", "pseudonym"} & set(content):
            whole[f"{path.name} {name}"] = base64.b64decode(content[name])
    opening = load_opening(demo.folder / "mpd" / "keys" / "opening.pub")
    shares = [open_share(opening, load_party(demo.folder / name / "keys" / f"{name}.key")) for name in ("mpd", "dcf")]
    whole["opening key"] = join(shares)
    for number, words in enumerate(shares):
        found |= {f"share {number} {at}": " ".join(words.split()[at : at + 3]).encode() for at in range(30)}
    for where, raw in whole.items():
        found[f"{where} raw"] = raw
        found[f"{where} hex"] = raw.hex().encode()
        found[f"{where} HEX"] = raw.hex().upper().encode()
        found[f"{where} base64"] = base64.b64encode(raw).rstrip(b"=")
        found[f"{where} urlsafe"] = base64.urlsafe_b64encode(raw).rstrip(b"=")
        found[f"{where} repr"] = repr(raw).encode()
    return found


def _told_words(content: bytes, names: set[bytes]) -> set[bytes]:
    words = set(_WORD.findall(content))
    return {word for word in words if word.lower() in names and word in (word.lower(), word.upper(), word.title())}


def _told(pattern: re.Pattern[bytes], content: bytes, wanted: set[bytes]) -> set[bytes]:
    return set(pattern.findall(_UUID.sub(b"", content))) & wanted


def _where(found: Iterable[tuple[str, set[bytes]]]) -> list[str]:
    """Name the files and how many entries are in each; the entries of a synthetic population may be shown."""
    return [f"{name}: {sorted(told)[:5]}" for name, told in found if told]


def test_no_surname_is_anywhere(demo: Demo) -> None:
    surnames = _surnames(demo)
    names = surnames - _plain_words()
    assert len(names) > 100 and len(names) > 0.5 * len(surnames)
    extract = (demo.folder / "population" / "extracts" / "mpd" / "mpd.csv").read_bytes()
    assert len(_told_words(extract, names)) > 50, "the search does not find what is there"
    assert _where((name, _told_words(content, names)) for name, content in demo.outputs().items()) == []


def test_no_birth_date_is_anywhere(demo: Demo) -> None:
    dates = _dates(demo)
    extract = (demo.folder / "population" / "extracts" / "mpd" / "mpd.csv").read_bytes()
    assert len(_told(_DATE, extract, dates)) > 100, "the search does not find what is there"
    known: set[bytes] = set()  # dates in the manuals and examples that Prefect keeps in its database
    spec: Any = importlib.util.find_spec("prefect")
    for path in Path(spec.origin).parent.rglob("*.py"):
        known |= _told(_DATE, path.read_bytes(), dates)
    assert len(known) < 20
    assert _where((name, _told(_DATE, content, dates - known)) for name, content in demo.outputs().items()) == []


def test_no_number_of_a_person_is_anywhere(demo: Demo) -> None:
    numbers = _numbers(demo)
    extract = (demo.folder / "population" / "extracts" / "mpd" / "mpd.csv").read_bytes()
    assert len(_told(_NUMBER, extract, numbers)) > 100, "the search does not find what is there"
    assert _where((name, _told(_NUMBER, content, numbers)) for name, content in demo.outputs().items()) == []


def test_no_key_is_anywhere(demo: Demo) -> None:
    secrets = _secrets(demo)
    assert len(secrets) == 6 * (2 + 6 * 4) + 2 * 30, "linkage and opening key, six parties with four each, two shares"
    key = next(demo.folder.rglob("mpd.key")).read_bytes()
    assert any(secret in key for secret in secrets.values()), "the search does not find what is there"
    found = [(where, name) for name, content in demo.outputs().items() for where, s in secrets.items() if s in content]
    assert found == []


# --- with everything logged, and when it fails


def _flow(demo: Demo, home: Path, *words: str) -> tuple[subprocess.CompletedProcess[bytes], dict[str, bytes]]:
    """Run a flow with a Prefect of its own that logs all it can; return what it said and what its database holds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "TMPDIR": str(demo.work / "tmp"),
    }
    done = subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, check=False)
    said = {"stdout": done.stdout, "stderr": done.stderr}
    for path in home.rglob("*"):
        if path.is_file():
            said[path.name] = path.read_bytes()
            if path.parent.name == "storage":  # Prefect keeps the errors of flows, pickled and in base64
                said[f"{path.name} decoded"] = base64.b64decode(path.read_bytes())
    return done, said


def _not_debug(said: bytes) -> str:
    """What went wrong, without thousands of lines on what went well."""
    return "\n".join(line for line in said.decode().splitlines() if "| DEBUG " not in line)


def test_a_second_run_makes_nothing_new_and_its_debug_log_tells_nothing(demo: Demo, tmp_path: Path) -> None:
    county = demo.folder / "county"
    before = {path: path.stat().st_mtime_ns for path in county.rglob("*") if path.is_file() and path.name != "lock"}
    done, said = _flow(demo, tmp_path, "flows.monthly", "--settings", str(county / "linkage.toml"))
    assert done.returncode == 0, _not_debug(done.stderr)
    assert json.loads(done.stdout)["release"] == str(demo.release)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    names, dates = _surnames(demo) - _plain_words(), _dates(demo)
    assert (
        _where((name, _told_words(content, names) | _told(_DATE, content, dates)) for name, content in said.items())
        == []
    )
    assert not [name for name, content in said.items() for secret in _secrets(demo).values() if secret in content]


def test_a_flow_that_fails_tells_the_rule_and_not_the_value(demo: Demo, tmp_path: Path) -> None:
    text = (demo.folder / "population" / "extracts" / "mpd" / "mpd.csv").read_text(encoding="utf-8")
    broken = tmp_path / "broken.csv"
    broken.write_text(re.sub(r"(\d\d)/(\d\d)/(\d{4})", r"\1//\2/\3", text), encoding="utf-8")
    assert broken.read_text(encoding="utf-8") != text
    settings = str(demo.folder / "mpd" / "linkage.toml")
    home = tmp_path / "prefect"
    home.mkdir()
    done, said = _flow(demo, home, "flows.encode", str(broken), "--source", "mpd", "--settings", settings)
    assert done.returncode == 3
    assert json.loads(done.stdout)["reason"] == "too-many-failures"
    assert b"date-format" in done.stderr
    values = {value.encode() for value in re.findall(r"\d\d//\d\d/\d{4}", broken.read_text(encoding="utf-8"))}
    assert len(values) > 100
    assert not [name for name, content in said.items() if any(value in content for value in values)]
    names = _surnames(demo) - _plain_words()
    assert _where((name, _told_words(content, names)) for name, content in said.items()) == []
