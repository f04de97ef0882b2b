"""The road of decoys: sent by two agencies, linked by a hub that cannot tell them, gone from every count."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkage.contract import load_agreement, load_source, load_spec
from linkage.contract.files import load_policy
from linkage.exchange import create_linkage_key, create_party, load_linkage_key, load_party
from linkage.hub.intake import take_in
from linkage.hub.run import run
from linkage.lab.population import MILWAUKEE, draw_population
from linkage.research.draws import by_record
from linkage.research.estimate import estimate
from linkage.research.histories import capture_histories, stack
from linkage.research.inputs import Inputs, open_inputs
from linkage.research.release import scoped_persons
from linkage.steward.submit import submit

TODAY = dt.date(2026, 11, 22)
MONTH = "2026-11"
SOURCES = ("mpd", "dcf", "medical")
HALVES = {"mpd": (0, 1), "dcf": (1, 2), "medical": (0, 2)}
"""Which thirds of the people a source has: every person is known to two, by the same text."""


def linked(root: Path, name: str, decoys: float | None) -> Inputs:
    """Send the same extracts under the same keys, link, and open what the analysis gets."""
    parties = {path.stem: load_party(path) for path in (root / "keys").glob("*.key")}
    key = load_linkage_key(root / "linkage.key")
    agreements = {
        source: load_agreement("mpd").model_copy(update={"source": source, "opening": "hub"}) for source in SOURCES
    }
    spec, inbox = load_spec("default"), root / name / "inbox"
    for source in SOURCES:
        submit(
            root / f"{source}.csv",
            schema=load_source("mpd").model_copy(update={"source": source}),
            agreement=agreements[source],
            spec=spec,
            linkage_key=key,
            party=parties[source],
            opener=parties["hub"].public,
            analysis=parties["analysis"].public,
            outbox=inbox,
            month=MONTH,
            today=TODAY,
            decoys=decoys,
        )
    common: dict[str, Any] = {
        "hub": parties["hub"],
        "senders": {source: parties[source].public for source in SOURCES},
        "agreements": agreements,
        "state": root / name / "state",
        "spec": spec,
        "project": "milwaukee",
        "epoch": "2026-1",
        "today": TODAY,
    }
    take_in(sorted(inbox.iterdir()), **common).require_all()
    done = run(MONTH, analysis=parties["analysis"].public, out=root / name / "runs", **common)
    return open_inputs(
        list(done.batches.values()),
        done.person_map,
        party=parties["analysis"],
        senders=common["senders"],
        hub=parties["hub"].public,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, Inputs]:
    root = tmp_path_factory.mktemp("road")
    for name in (*SOURCES, "hub", "analysis"):
        create_party(root / "keys", name)
    create_linkage_key(root / "linkage.key", "milwaukee", "2026-1")
    draw_population(MILWAUKEE, 4, root / "population", 700)
    extract = pl.read_csv(root / "population" / "extracts" / "mpd" / "mpd.csv", infer_schema=False)
    third = pl.col("PERSON_NO").rank("dense") % 3
    for source, thirds in HALVES.items():
        extract.filter(third.is_in(thirds)).write_csv(root / f"{source}.csv")
    return linked(root, "with", 0.25), linked(root, "without", None)


def test_whose_contacts_are_counted_does_not_depend_on_decoys(both: tuple[Inputs, Inputs]) -> None:
    with_them, without = both
    assert sum(frame["decoy"].sum() for frame in with_them.facts.values()) > 60
    assert not any(frame["decoy"].any() for frame in without.facts.values())
    contacts = [
        stack(inputs.facts, by_record(inputs.person_map)).drop("person").sort(pl.all(), nulls_last=True)
        for inputs in both
    ]
    assert contacts[0].equals(contacts[1])


def test_histories_and_estimates_are_unchanged_by_decoys(both: tuple[Inputs, Inputs]) -> None:
    """Where records tell clearly who is who, to the last person; doubtful pairs may fall otherwise, as with any key."""
    policy = load_policy().model_copy(update={"lists": SOURCES})
    people = [scoped_persons(inputs.facts, inputs.person_map, policy) for inputs in both]
    histories = [capture_histories(frame, SOURCES) for frame in people]
    assert histories[0].equals(histories[1])
    assert histories[0]["count"].sum() > 150
    verdicts = [estimate(frame).verdict for frame in histories]
    assert verdicts[0] == verdicts[1]


def test_decoys_are_linked_to_nobody(both: tuple[Inputs, Inputs]) -> None:
    with_them, _ = both
    marks = pl.concat(
        frame.select("pseudonym", "decoy", source=pl.lit(source)).unique() for source, frame in with_them.facts.items()
    )
    mapping = by_record(with_them.person_map).join(marks, on=["source", "pseudonym"])
    sizes = mapping.group_by("person").agg(pl.len(), pl.col("decoy").any(), pl.col("decoy").all().alias("only"))
    shared = sizes.filter(pl.col("decoy"), pl.col("len") > 1)
    assert shared.height <= 0.05 * mapping["decoy"].sum()
