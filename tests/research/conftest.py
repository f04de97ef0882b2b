"""A few hundred synthetic persons on four lists, as the analysis gets them, and releases made of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkage import __version__
from linkage.contract.agreement import Agreement, ReleasePolicy
from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA, HISTORY_KINDS
from linkage.exchange import BatchManifest, Party, create_party, load_party
from linkage.research.release import ReleaseSummary, release

LISTS = ("mpd", "dcf", "pohsey", "medical")
CHANCE = {"mpd": 0.40, "dcf": 0.35, "pohsey": 0.22, "medical": 0.20}
RACES = ("black", "white", "latino", "multiracial", "asian")


@dataclass
class World:
    """All that a release is made of, but for the party."""

    facts: dict[str, pl.DataFrame]
    person_map: pl.DataFrame
    quality: dict[str, Any]
    manifests: dict[str, BatchManifest]


def world(people: int = 700, seed: int = 1, chance: dict[str, float] | None = None) -> World:
    """Draw people, put each on lists independently, add decoys and contacts out of scope."""
    rng = np.random.default_rng(seed)
    chance = chance or CHANCE
    sex = rng.choice(["female", "male", "transgender_female"], people, p=[0.9, 0.08, 0.02])
    race = rng.choice(RACES, people, p=[0.6, 0.22, 0.1, 0.05, 0.03])
    age = rng.integers(12, 25, people)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in chance}
    mapping: list[tuple[str, str, int]] = []
    top = people
    for name in chance:
        for person in np.flatnonzero(rng.random(people) < chance[name]):
            pseudonym = rng.bytes(16).hex()
            mapping.append((name, pseudonym, int(person)))
            for _ in range(int(rng.integers(1, 3))):
                rows[name].append(_contact(rng, pseudonym, str(sex[person]), str(race[person]), int(age[person])))
        for kind in ("decoy", "old", "elsewhere"):
            for _ in range(3):
                pseudonym = rng.bytes(16).hex()
                mapping.append((name, pseudonym, top))
                top += 1
                row = _contact(rng, pseudonym, "male", "black", 20)
                changed = {"decoy": {"decoy": True}, "old": {"age": 40}, "elsewhere": {"jurisdiction": "elsewhere"}}
                rows[name].append(row | changed[kind])
    frame = pl.DataFrame(
        mapping, schema={"source": pl.String, "pseudonym": pl.String, "person": pl.UInt32}, orient="row"
    )
    dense = frame.with_columns((pl.col("person").rank("dense") - 1).cast(pl.UInt32))
    facts = {name: pl.DataFrame(entries, schema=FACT_SCHEMA) for name, entries in rows.items()}
    return World(facts, dense, quality(), {name: manifest(name) for name in chance})


def _contact(rng: np.random.Generator, pseudonym: str, sex: str, race: str, age: int) -> dict[str, Any]:
    roles = ["none", "victim", "suspect", "witness", "multiple"]
    return {
        "pseudonym": pseudonym,
        "month": f"{rng.integers(2013, 2017)}-{rng.integers(1, 13):02d}",
        "age": age,
        "sex": sex,
        "race": race,
        "tier": str(rng.choice(["confirmed", "believed"], p=[0.7, 0.3])),
        "contact": "other",
        **{f"history_{kind}": str(rng.choice(roles, p=[0.7, 0.2, 0.06, 0.03, 0.01])) for kind in HISTORY_KINDS},
        "missing_ever": bool(rng.random() < 0.4),
        "missing_from_care": bool(rng.random() < 0.2),
        "missing_as_juvenile": bool(rng.random() < 0.3),
        "out_of_home_care": bool(rng.random() < 0.3),
        "jurisdiction": "City of Milwaukee",
        "decoy": False,
    }


def quality() -> dict[str, Any]:
    """What the hub says; odd numbers that would be found again if they got out."""
    rate = {"value": 0.9812, "low": 0.9713, "high": 0.9934}
    pairs = [(a, b) for i, a in enumerate(LISTS) for b in LISTS[i:]]
    return {
        "records": {name: 77123 for name in LISTS},
        "persons": 77124,
        "person_sizes": {"1": 77125, "2": 77126, "3": 7},
        "pairs_compared": 77127.0,
        "candidates": 77128,
        "links": 77129,
        "expected_matches": 77130.5,
        "precision": rate,
        "recall": {"value": 0.9321, "low": 0.9212, "high": 0.9456},
        "by_sources": [
            {"sources": list(pair), "links": 77131, "expected_matches": 77132.5, "precision": rate, "recall": None}
            for pair in pairs
        ],
        "probability_bands": {"0-0.5": 77133, "0.5-1": 77134},
    }


def manifest(source: str) -> BatchManifest:
    """Write the manifest of a batch."""
    return BatchManifest(
        project="milwaukee",
        epoch="2026-1",
        source=source,
        batch_id="0" * 32,
        serial=1,
        month="2026-11",
        spec_name="default",
        spec_digest="a" * 64,
        rules_version=1,
        fingerprint="b" * 32,
        mode="full",
        agreement_digest="c" * 64,
        deduplicated=True,
        tool_version=__version__,
    )


def policy(**changes: Any) -> ReleasePolicy:
    """Return a policy for the four lists."""
    plain = {
        "release_policy": 1,
        "project": "milwaukee",
        "title": "People counted across systems",
        "scope": {
            "first_month": "2013-01",
            "last_month": "2016-12",
            "max_age": 25,
            "jurisdiction": "City of Milwaukee",
        },
        "lists": LISTS,
        "floor": 11,
        "round_estimates_to": 10,
        "contact": "the output checker",
    }
    return ReleasePolicy.model_validate(plain | changes)


def agreement(source: str, **changes: Any) -> Agreement:
    """Return an agreement that allows every fact."""
    plain = {
        "agreement": 1,
        "project": "milwaukee",
        "source": source,
        "title": f"Agreement of {source}",
        "legal_basis": "research agreement <of counsel>",
        "authority": "order 12",
        "mode": "full",
        "profile": "default",
        "identifiers": ["given_name"],
        "facts": [name for name in FACT_SCHEMA if name not in FACT_MARKS],
        "floor": 11,
        "starts": "2026-01-01",
        "ends": "2028-12-31",
        "refers_to": ["pohsey"] if source == "dcf" else [],
    }
    return Agreement.model_validate(plain | changes)


def agreements(lists: Sequence[str] = LISTS) -> list[Agreement]:
    """Return one agreement a list; the referral that the second names is one where its other list is there."""
    return [agreement(name) for name in lists]


TODAY = dt.date(2026, 11, 22)


@dataclass
class Maker:
    """Makes worlds and releases."""

    party: Party
    lists: tuple[str, ...] = LISTS
    today: dt.date = TODAY
    world: Callable[..., World] = field(default=world)
    policy: Callable[..., ReleasePolicy] = field(default=policy)
    agreement: Callable[..., Agreement] = field(default=agreement)
    agreements: Callable[..., list[Agreement]] = field(default=agreements)
    quality: Callable[[], dict[str, Any]] = field(default=quality)

    def release(self, made: World, out: Path, **changes: Any) -> ReleaseSummary:
        """Release a world."""
        plain: dict[str, Any] = {
            "month": "2026-11",
            "quality": made.quality,
            "policy": policy(lists=tuple(made.facts)),
            "agreements": agreements(tuple(made.facts)),
            "manifests": made.manifests,
            "party": self.party,
            "out": out,
            "today": TODAY,
        }
        return release(made.facts, made.person_map, **(plain | changes))


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Worlds and releases, signed by one party."""
    private, _ = create_party(tmp_path_factory.mktemp("keys") / "analysis", "analysis")
    return Maker(load_party(private))


@pytest.fixture(scope="session")
def small(maker: Maker) -> World:
    """Three hundred persons on the lists: most crossings are below the floor, and Chao's counts are withheld."""
    return maker.world(400, 3)


@pytest.fixture(scope="session")
def small_release(maker: Maker, small: World, tmp_path_factory: pytest.TempPathFactory) -> ReleaseSummary:
    """The release of the small world. Not to be changed."""
    return maker.release(small, tmp_path_factory.mktemp("small") / "release")


@pytest.fixture(scope="session")
def large(maker: Maker) -> World:
    """Two thousand persons on the lists: nearly every count is published."""
    return maker.world(2500, 2)


@pytest.fixture(scope="session")
def large_release(maker: Maker, large: World, tmp_path_factory: pytest.TempPathFactory) -> ReleaseSummary:
    """The release of the large world. Not to be changed."""
    return maker.release(large, tmp_path_factory.mktemp("large") / "release")


@pytest.fixture(scope="session")
def sparse(maker: Maker) -> World:
    """Two hundred persons, nearly all on one list: overlaps are withheld, and there is no estimate."""
    return maker.world(400, 4, {"mpd": 0.5, "dcf": 0.02, "pohsey": 0.02, "medical": 0.01})


@pytest.fixture(scope="session")
def sparse_release(maker: Maker, sparse: World, tmp_path_factory: pytest.TempPathFactory) -> ReleaseSummary:
    """The release of the sparse world. Not to be changed."""
    return maker.release(sparse, tmp_path_factory.mktemp("sparse") / "release")


@pytest.fixture(scope="session")
def three(maker: Maker) -> World:
    """Seven hundred persons on three lists: an estimate, and a release that takes seconds."""
    return maker.world(1000, 3, {"mpd": 0.4, "dcf": 0.35, "pohsey": 0.3})


@pytest.fixture(scope="session")
def three_release(maker: Maker, three: World, tmp_path_factory: pytest.TempPathFactory) -> ReleaseSummary:
    """The release of the world of three lists. Not to be changed."""
    return maker.release(three, tmp_path_factory.mktemp("three") / "release")


@pytest.fixture(scope="session")
def two(maker: Maker) -> World:
    """A hundred and fifty persons on two lists."""
    return maker.world(250, 3, {"mpd": 0.4, "dcf": 0.35})


@pytest.fixture(scope="session")
def two_release(maker: Maker, two: World, tmp_path_factory: pytest.TempPathFactory) -> ReleaseSummary:
    """The release of the world of two lists, of draws on which the chains agreed. Not to be changed."""
    agreed = two.quality | {"posterior": {"r_hat": 1.31, "effective_draws": 4.2, "converged": True}}
    return maker.release(two, tmp_path_factory.mktemp("two") / "release", quality=agreed)
