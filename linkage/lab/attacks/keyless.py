"""Attacks on what the keys do: guessing people into tokens, and holding two encodings of the same people together."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linkage.exchange import create_party, load_party
from linkage.lab.attacks.linear import PinnedKey
from linkage.lab.attacks.matching import assign
from linkage.lab.attacks.scene import Outcome, Scene, View, encoded, views
from linkage.steward.encode import KeySource

__all__ = [
    "dictionary",
    "dictionary_with_key",
    "epochs_apart",
    "epochs_under_one_key",
    "membership",
    "plain_hashes",
    "pseudonyms",
    "specs_apart",
    "specs_under_one_key",
]

Matrix = NDArray[np.float32]

_GUESSES = (b"", bytes(32), b"password", b"secret", b"key", b"linkage", b"milwaukee", b"2026", b"test")
_HASHES = ("md5", "sha1", "sha256", "sha512", "blake2b")
_STILL_MEMBER = 0.9


def dictionary(scene: Scene) -> Outcome:
    """Encode the list under guessed keys, and give each person the filters most like his.

    The guess under which they are most alike counts: a right one would show itself.
    """
    keys: list[KeySource] = [scene.own_key(0), *map(_Phrase, _GUESSES)]
    return max((_guess(scene, key) for key in keys), key=lambda found: found[0])[1]


def dictionary_with_key(scene: Scene) -> Outcome:
    """Do the same with the right key: whoever has it needs no other attack."""
    return _guess(scene, scene.key)[1]


def pseudonyms(scene: Scene) -> Outcome:
    """Guess an agency's pseudonyms from its person numbers, all of which the attacker knows, by usual hashes and keys.

    The pseudonyms are those of a real party, with a key of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        private, _ = create_party(Path(folder) / "keys", "agency")
        codes = load_party(private).pseudonyms(_numbers(len(scene.owner)))
    return _guess_tokens(scene, codes)


def plain_hashes(scene: Scene) -> Outcome:
    """Do the same to plain hashes of person numbers, which many systems send."""
    return _guess_tokens(
        scene, [hashlib.sha256(number.encode()).hexdigest()[:32] for number in _numbers(len(scene.owner))]
    )


def epochs_apart(scene: Scene) -> Outcome:
    """Find each record of one epoch among those of the next by subtracting filters: without names, from bits alone."""
    return _same_people(scene, scene, scene.own_key(77))


def epochs_under_one_key(scene: Scene) -> Outcome:
    """Do the same where the key did not change."""
    return _same_people(scene, scene, scene.key)


def specs_apart(scene: Scene) -> Outcome:
    """Find each record of one spec among those of another under the same linkage key."""
    return _same_people(scene, _other_spec(scene), scene.key)


def specs_under_one_key(scene: Scene) -> Outcome:
    """Do the same where two specs share their subkeys, as in systems whose keys know nothing of specs."""
    return _same_people(scene, _other_spec(scene), PinnedKey(scene.key, scene.spec.digest))


def membership(scene: Scene) -> Outcome:
    """Tell whether a person is on the owner's list: an agency sends him, and the hub looks for filters like his.

    Half of the attacker's people on the owner's list are taken off it. An agency alone sees nothing of the hub's but
    its receipt.
    """
    rng = np.random.default_rng([scene.seed, 23])
    probes = np.flatnonzero(scene.common)
    off = rng.permutation(probes)[: len(probes) // 2]
    left = np.ones(len(scene.owner), np.bool_)
    left[scene.truth[off]] = False
    sent = views(encoded(scene.attacker, scene.spec, scene.key), scene.spec)
    best = _likeness(sent, scene.seen)[np.ix_(probes, np.flatnonzero(left))].max(axis=1) / len(sent)
    said = best > _STILL_MEMBER
    member = ~np.isin(probes, off)
    return Outcome(float((said == member).sum()), len(probes), max(float(member.mean()), float(1 - member.mean())))


class _Phrase:
    """A key tree over a guessed secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return 32 bytes for one purpose."""
        return hmac.digest(self._secret, f"{spec_digest}\0{purpose}\0{field}".encode(), "sha256")


def _guess(scene: Scene, key: KeySource) -> tuple[float, Outcome]:
    likeness = _likeness(views(encoded(scene.attacker, scene.spec, key), scene.spec), scene.seen)
    assigned = assign(likeness)
    given = np.flatnonzero(assigned >= 0)
    return float(likeness[given, assigned[given]].sum()), scene.score(assigned)


def _likeness(left: Sequence[View], right: Sequence[View]) -> Matrix:
    total = np.zeros((len(left[0].signs), len(right[0].signs)), np.float32)
    for one, other in zip(left, right, strict=True):
        total += one.signs @ other.signs.T / np.float32(one.signs.shape[1])
    return total


def _same_people(first: Scene, second: Scene, key: KeySource) -> Outcome:
    """Match the owner's list with itself, in another order and encoded anew."""
    order = np.random.default_rng([first.seed, 29]).permutation(len(first.owner))
    later = views(encoded(second.owner[order], second.spec, key), second.spec)
    found = assign(_likeness(first.seen, later))
    return Outcome(float((order[found] == np.arange(len(order))).sum()), len(order), 1 / len(order))


def _other_spec(scene: Scene) -> Scene:
    """Return the same list under a spec that leaves a field out of its first filter, which shows in likeness only."""
    first, *others = scene.spec.filters
    parts = first.parts[:-1] if len(first.parts) > 1 else first.parts
    filters = (first.model_copy(update={"parts": parts}), *others)
    spec = scene.spec.model_copy(update={"name": "another", "filters": filters})
    return replace(scene, spec=spec, _kept={})


def _numbers(count: int) -> list[str]:
    return [f"{100_000 + row}" for row in range(count)]


def _guess_tokens(scene: Scene, codes: Sequence[str]) -> Outcome:
    """Hash the numbers of the attacker's people in all usual ways, and look the results up."""
    place = {code: row for row, code in enumerate(codes)}
    numbers = _numbers(len(codes))
    assigned = np.full(len(scene.truth), -1, np.int64)
    for row in np.flatnonzero(scene.common).tolist():
        number = numbers[int(scene.truth[row])].encode()
        tried = [hashlib.new(name, number, usedforsecurity=False).hexdigest() for name in _HASHES]
        tried += [hmac.digest(secret, number, "sha256").hex() for secret in _GUESSES]
        assigned[row] = next((place[code[:32]] for code in tried if code[:32] in place), -1)
    return scene.score(assigned)
