"""Pattern mining reads an unprotected filter of names, from bits alone, and finds nothing in a diffused one."""

from __future__ import annotations

import numpy as np
import pytest

from linkage.contract.spec import LinkageSpec
from linkage.lab.attacks import ATTACKS, People, attack
from linkage.lab.attacks.patterns import held, mined, paired
from linkage.lab.attacks.scene import draw_scene


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """600 records with 12 tokens of 8 bits each, and the bits of the tokens."""
    rng = np.random.default_rng(5)
    shares = np.linspace(0.06, 0.34, 12)
    tokens = (rng.random((600, 12)) < shares).astype(np.float32)
    sets = np.zeros((12, 150), np.float32)
    for token in range(12):
        sets[token, rng.choice(150, 8, replace=False)] = 1
    noise = rng.random((600, 150)) < 0.05
    return tokens, sets, ((tokens @ sets > 0) | noise).astype(np.float32)


def test_sets_of_bits_that_were_planted_are_found(planted: tuple[np.ndarray, ...]) -> None:
    tokens, _, ones = planted
    found = mined(ones)
    shared = found.T @ tokens
    either = found.sum(axis=0)[:, None] + tokens.sum(axis=0)[None, :] - shared
    often = tokens.mean(axis=0) > 0.19
    assert often.sum() >= 6
    assert ((shared / either).max(axis=0)[often] > 0.95).all()


def test_they_are_paired_with_their_tokens_by_frequency(planted: tuple[np.ndarray, ...]) -> None:
    tokens, _, _ = planted
    order = np.random.default_rng(6).permutation(12)
    rows = np.random.default_rng(7).permutation(600)
    assert (paired(tokens[rows][:, order], tokens) == order).all()


def test_bits_that_nothing_joins_give_no_sets() -> None:
    assert mined((np.random.default_rng(8).random((400, 120)) < 0.4).astype(np.float32)).shape == (400, 0)
    assert paired(np.zeros((400, 0), np.float32), np.ones((400, 3), np.float32)).shape == (0,)


def test_tokens_are_those_of_the_encoder(people: People, guarded: LinkageSpec) -> None:
    scene = draw_scene(people.frame, people.others, guarded, n=50, overlap=1.0, seed=0).unprotected("names")
    has = held(scene.owner, scene.spec.filters[0])
    assert set(np.unique(has)) == {0, 1}
    assert has.shape[1] == np.unique(has, axis=1).shape[1]
    # Records with the same tokens have the same filter, and only these.
    same = (has[:, None, :] == has[None, :, :]).all(axis=2)
    bits = scene.seen[0].signs
    assert (same == (bits @ bits.T == bits.shape[1])).all()


def test_names_are_read_where_nothing_protects_them(people: People, guarded: LinkageSpec) -> None:
    for overlap, least in ((1.0, 0.7), (0.8, 0.5)):
        scene = draw_scene(people.frame, people.others, guarded, n=300, overlap=overlap, seed=0)
        control = ATTACKS["patterns"].against(scene)
        assert control.hits / control.tries > least


def test_and_nothing_where_something_does(people: People, guarded: LinkageSpec) -> None:
    (entry,) = attack(people, guarded, sizes=[250], overlaps=[1.0], seeds=1, names=["patterns"])["attacks"]
    assert entry["control_passed"], entry
    assert entry["rate"] < 0.03
