"""Attacks succeed where there is no protection, fail where there is, and do not count their own ties as hits."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.lab.attacks import ATTACKS, People, attack
from linkage.lab.attacks.graph import expected, match, similarity
from linkage.lab.attacks.matching import assign, soft
from linkage.lab.attacks.scene import Scene, draw_scene


def drawn(people: People, spec: LinkageSpec, n: int = 200, overlap: float = 1.0, seed: int = 0) -> Scene:
    return draw_scene(people.frame, people.others, spec, n=n, overlap=overlap, seed=seed)


@pytest.mark.parametrize("name", ["popcount", "profile", "graph", "graph_spectral", "frequency", "equality"])
def test_the_control_of_each_attack_succeeds_at_full_overlap(name: str, people: People, guarded: LinkageSpec) -> None:
    result = attack(people, guarded, sizes=[200], overlaps=[1.0], seeds=2, names=[name])
    (entry,) = result["attacks"]
    assert entry["control_passed"], entry
    assert result["failed_controls"] == []
    assert entry["rate"] < 0.05 < entry["baseline"]
    assert entry["low"] <= entry["rate"] <= entry["high"]
    assert entry["chance"] == pytest.approx(1 / 200)


def test_the_graph_attack_survives_a_fifth_of_strangers(people: People, guarded: LinkageSpec) -> None:
    scene = drawn(people, guarded, overlap=0.8)
    control = ATTACKS["graph"].against(scene)
    assert control.tries == 160
    assert control.hits / control.tries > 0.6
    mine = ATTACKS["graph"].run(scene)
    assert mine.hits / mine.tries < 0.05


def test_thin_protection_falls(people: People, thematic: LinkageSpec) -> None:
    result = attack(people, thematic, sizes=[200], overlaps=[1.0], seeds=1, names=["graph", "popcount"])
    assert result["worst"]["name"] == "graph"
    assert result["worst"]["rate"] > 0.5


def test_expected_similarities_are_those_of_other_keys(people: People, guarded: LinkageSpec) -> None:
    scene = drawn(people, guarded.model_copy(update={"diffusion": guarded.diffusion.model_copy(update={"inputs": 2})}))
    for number, long in enumerate(expected(scene)):
        gap = similarity(scene.rehearsed[0][number]) - long
        off = ~np.eye(len(gap), dtype=bool)
        assert abs(float(gap[off].mean())) < 0.02
        # Noise of 2,048 output bits, of the 1,024 bits they come from, and of the long filters.
        assert float(gap[off].std()) < 0.06
        assert float(np.corrcoef(similarity(scene.rehearsed[0][number])[off], long[off])[0, 1]) > 0.75


def test_lists_are_shuffled_and_the_truth_fits_them(people: People, guarded: LinkageSpec) -> None:
    scene = drawn(people, guarded, n=100, overlap=0.7)
    assert int(scene.common.sum()) == 70
    rows = np.flatnonzero(scene.common)
    assert scene.attacker[rows].equals(scene.owner[scene.truth[rows]])
    assert not (scene.truth[rows] == rows).mean() > 0.1
    # Who says nothing gives everybody the same score; an assignment of ties must not come out right.
    guessed = scene.score(assign(np.zeros((100, 100))))
    assert guessed.hits / guessed.tries < 0.1


def test_too_few_people_and_wrong_calls_are_told(people: People, guarded: LinkageSpec) -> None:
    with pytest.raises(ContractError) as few:
        drawn(people, guarded, n=300, overlap=0.5)
    assert few.value.reason == "too-few-people"
    for call in ({"sizes": [1]}, {"overlaps": [0.0]}, {"overlaps": [1.2]}, {"seeds": 0}):
        with pytest.raises(ContractError) as wrong:
            attack(people, guarded, **({"sizes": [50], "overlaps": [1.0], "seeds": 1} | call))  # type: ignore[arg-type]
        assert wrong.value.reason == "out-of-range"
    with pytest.raises(ContractError) as unknown:
        attack(people, guarded, sizes=[50], overlaps=[1.0], seeds=1, names=["sorcery"])
    assert unknown.value.reason == "unknown-attack"


def test_matching_finds_a_planted_permutation() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(size=(60, 60)).astype(np.float32)
    own = half + half.T
    np.fill_diagonal(own, 0)
    shuffled = rng.permutation(60)
    seen = own[np.ix_(shuffled, shuffled)] + rng.normal(scale=0.1, size=(60, 60)).astype(np.float32)
    from linkage.lab.attacks.graph import Channel

    hint = -np.abs(own.sum(axis=1)[:, None] - seen.sum(axis=1)[None, :])
    found = match([Channel(own, seen, 10.0)], np.zeros_like(own), soft(hint, 1.0))
    assert (shuffled[found] == np.arange(60)).all()


def test_a_file_without_other_sources_says_what_was_not_run(people: People, guarded: LinkageSpec) -> None:
    alone = People("a", people.frame, pl.DataFrame(schema=people.others.schema))
    needing = [name for name, entry in ATTACKS.items() if entry.needs_elsewhere]
    result = attack(alone, guarded, sizes=[50], overlaps=[1.0], seeds=1, names=["popcount", *needing])
    assert result["not_run"] == needing
    assert [entry["name"] for entry in result["attacks"]] == ["popcount"]
