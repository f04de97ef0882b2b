"""Attacks with more than a list: known pairs, keys, time, other sources; and the algebra of the diffusion."""

from __future__ import annotations

import numpy as np
import pytest

from linkage.contract.spec import LinkageSpec
from linkage.lab.attacks import ATTACKS, People, attack
from linkage.lab.attacks.known import known_pairs
from linkage.lab.attacks.linear import diffusion_limits, rank_growth
from linkage.lab.attacks.scene import draw_scene


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("known_10", 0.1), ("known_50", 0.5), ("dictionary", 0.05), ("pseudonyms", 0.0), ("specs", 0.05),
        ("epochs", 0.05), ("union", 0.05), ("noisy_list", 0.1),
        ("decoys", 0.05),
    ],
)  # fmt: skip
def test_controls_succeed_and_the_encoding_holds(name: str, most: float, people: People, guarded: LinkageSpec) -> None:
    (entry,) = attack(people, guarded, sizes=[120], overlaps=[1.0], seeds=1, names=[name])["attacks"]
    assert entry["control_passed"], entry
    assert entry["rate"] <= most


def test_an_agency_and_the_hub_together_tell_members(people: People, guarded: LinkageSpec) -> None:
    (entry,) = attack(people, guarded, sizes=[100], overlaps=[1.0], seeds=1, names=["membership"])["attacks"]
    assert entry["control_passed"], entry
    assert (entry["rate"], entry["chance"]) == (1.0, 0.5)


@pytest.mark.parametrize("name", ["bridged_epochs", "twelve_months"])
def test_epochs_held_together_and_months_tell_more(name: str, people: People, guarded: LinkageSpec) -> None:
    weaker = {"hashing": guarded.hashing.model_copy(update={"fill": 0.3}), "diffusion": guarded.diffusion}
    weaker["diffusion"] = guarded.diffusion.model_copy(update={"inputs": 5})
    scene = draw_scene(people.frame, people.others, guarded.model_copy(update=weaker), n=200, overlap=1.0, seed=0)
    alone, more = ATTACKS["graph"].run(scene), ATTACKS[name].run(scene)
    assert more.hits > alone.hits + 0.03 * alone.tries
    control = ATTACKS[name].against(scene)
    assert control.hits / control.tries > 0.9


def test_more_known_pairs_tell_more(people: People, guarded: LinkageSpec) -> None:
    scene = draw_scene(people.frame, people.others, guarded, n=250, overlap=1.0, seed=0)
    few, many = (known_pairs(pairs)(scene) for pairs in (10, 150))
    assert (few.tries, many.tries) == (240, 100)
    assert many.hits / many.tries > few.hits / few.tries + 0.02


def test_decoys_lie_among_the_people_of_whom_none_is_lost(people: People, guarded: LinkageSpec) -> None:
    scene = draw_scene(people.frame, people.others, guarded, n=80, overlap=0.75, seed=0)
    outcome = ATTACKS["decoys"].run(scene)
    assert (outcome.tries, outcome.chance) == (60, 1 / 100)
    control = ATTACKS["decoys"].against(scene)
    assert control.hits / control.tries > 0.5


def test_too_few_people_for_so_many_pairs_is_said(people: People, guarded: LinkageSpec) -> None:
    result = attack(people, guarded, sizes=[100], overlaps=[1.0], seeds=1, names=["known_200", "popcount"])
    assert result["not_run"] == ["known_200"]


def test_ranks_over_two_elements() -> None:
    rows = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], np.uint8)
    assert rank_growth(rows).tolist() == [1, 2, 2, 2, 3]
    rng = np.random.default_rng(0)
    tall = rng.integers(0, 2, (90, 70), np.uint8)
    assert rank_growth(tall)[-1] == 70
    tall[:, 69] = tall[:, 0] ^ tall[:, 1]
    assert rank_growth(tall)[-1] == 69


def test_elimination_needs_about_as_many_filters_as_bits(people: People, guarded: LinkageSpec) -> None:
    short = guarded.model_copy(update={"bits": 256})
    for entry in diffusion_limits(people.frame, short):
        assert 240 <= entry["rank"] <= 256
        assert entry["rank"] <= entry["by_elimination"] <= entry["rank"] + 60
        assert entry["by_information"] == 39  # log2 of 256 choose 6 is 38.4
    long = diffusion_limits(people.frame.head(100), guarded)
    assert all(entry["by_elimination"] is None and entry["rank"] <= 100 for entry in long)


def test_every_attack_says_what_it_assumes_and_what_its_control_is() -> None:
    for name, entry in ATTACKS.items():
        assert entry.title[0].islower() and not entry.title.endswith("."), name
        assert entry.control and entry.assumes
        assert 0 < entry.least < 1
