"""The road of test persons: planted by two agencies, linked by a hub that knows nothing of them, then measured."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.contract import load_agreement, load_source, load_spec, schemas_folder
from linkage.contract.files import load_policy
from linkage.exchange import create_linkage_key, create_party, load_party
from linkage.hub.intake import take_in
from linkage.hub.run import run
from linkage.lab.planted import draw_test_persons
from linkage.lab.population import MILWAUKEE, draw_population
from linkage.research.draws import by_record
from linkage.research.histories import stack
from linkage.research.inputs import open_inputs
from linkage.research.release import release, scoped_persons
from linkage.steward.planted import planted_pseudonyms
from linkage.steward.submit import submit

TODAY = dt.date(2026, 11, 22)
MONTH = "2026-11"
SOURCES = ("mpd", "dcf")


class Road:
    """Two agencies, a hub and an analysis, with a run of the hub with or without test persons."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.parties = {
            name: load_party(create_party(root / "keys", name)[0]) for name in (*SOURCES, "hub", "analysis")
        }
        self.key = create_linkage_key(root / "linkage.key", "milwaukee", "2026-1")
        self.spec = load_spec("default")
        self.agreements = {
            name: load_agreement(schemas_folder() / "agreements" / f"{name}.yaml").model_copy(update={"opening": "hub"})
            for name in SOURCES
        }
        made = draw_population(MILWAUKEE, 4, root / "population", 500)
        paths = [root / "population" / entry["path"] for entry in made["files"]]
        self.extracts = {path.parent.name: path for path in paths if path.parent.parent.name == "extracts"}
        draw_test_persons(80, root / "agreed", project="milwaukee", epoch="2026-1", seed=11)
        self.with_them = self._run("with", planted=True)
        self.without = self._run("without", planted=False)

    def _run(self, name: str, *, planted: bool) -> Any:
        folder = self.root / name
        batches = []
        for source in SOURCES:
            sent = submit(
                self.extracts[source],
                schema=load_source(source),
                agreement=self.agreements[source],
                spec=self.spec,
                linkage_key=self.key,
                party=self.parties[source],
                opener=self.parties["hub"].public,
                analysis=self.parties["analysis"].public,
                outbox=folder / "inbox",
                month=MONTH,
                today=TODAY,
                test_persons=self.root / "agreed" / f"test-persons-{source}.csv" if planted else None,
            )
            batches.append(sent.path)
        common: dict[str, Any] = {
            "hub": self.parties["hub"],
            "senders": {source: self.parties[source].public for source in SOURCES},
            "agreements": self.agreements,
            "state": folder / "state",
            "spec": self.spec,
            "project": "milwaukee",
            "epoch": "2026-1",
            "today": TODAY,
        }
        take_in(batches, **common).require_all()
        done = run(MONTH, analysis=self.parties["analysis"].public, out=folder / "runs", **common)
        return done, open_inputs(
            list(done.batches.values()),
            done.person_map,
            party=self.parties["analysis"],
            senders=common["senders"],
            hub=self.parties["hub"].public,
        )


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    return Road(tmp_path_factory.mktemp("road"))


def test_the_analysis_measures_what_the_hub_found(road: Road, tmp_path: Path) -> None:
    _, inputs = road.with_them
    policy = load_policy().model_copy(update={"lists": SOURCES})
    summary = release(
        inputs.facts,
        inputs.person_map,
        month=MONTH,
        quality=inputs.quality,
        draws=inputs.draws,
        policy=policy,
        agreements=list(road.agreements.values()),
        manifests=inputs.manifests,
        party=road.parties["analysis"],
        out=tmp_path / "release",
        today=TODAY,
    )
    measured = summary.document.linkage.measured
    assert measured is not None and measured.precision is not None
    listed = [inputs.facts[source]["test_person"].drop_nulls().to_list() for source in SOURCES]
    assert measured.pairs == len(set(listed[0]) & set(listed[1])) > 15
    # Two agencies without the SSN of most people: most test persons are found, and few links are wrong. Keys are new
    # at each run and the pairs few dozen, so that two or three links more or less are chance.
    assert measured.recall.value > 0.6
    assert measured.precision.value > 0.7
    assert measured.by_sources[0].sources == ("dcf", "mpd")


def test_test_persons_change_no_count_but_by_what_the_linkage_makes_of_their_presence(road: Road) -> None:
    policy = load_policy().model_copy(update={"lists": SOURCES})
    counts, contacts = [], []
    for _, inputs in (road.with_them, road.without):
        events = stack(inputs.facts, by_record(inputs.person_map))
        contacts.append(events.drop("person").sort(pl.all(), nulls_last=True))
        people = scoped_persons(inputs.facts, inputs.person_map, policy)
        counts.append((people["on_mpd"].sum(), people["on_dcf"].sum(), people.filter(pl.col("systems") == 2).height))
    # Whose contacts are counted does not depend on them at all; who is one person may, by a doubtful pair or two.
    assert contacts[0].equals(contacts[1])
    assert all(abs(one - other) <= 6 for one, other in zip(*counts, strict=True))


def test_the_hub_has_nothing_that_names_them(road: Road) -> None:
    done, _ = road.with_them
    planted = pl.read_csv(road.root / "agreed" / "test-persons-mpd.csv", columns=["test_person"])["test_person"]
    names = [code.encode() for code in planted_pseudonyms(planted, "mpd", road.parties["mpd"])]
    for path in (road.root / "with").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"test_person" not in content and b"test-person" not in content, path.name
            assert not any(name.encode() in content for name in planted), path.name
            if path.suffix in (".batch", ".sealed", ".json"):
                assert not any(name in content for name in names), path.name
    assert "test" not in json.dumps(done.quality)
