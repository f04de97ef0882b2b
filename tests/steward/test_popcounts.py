"""How full a filter is tells nothing of a record where the fill is constant; where it is not, it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from linkage.contract import load_spec
from linkage.contract.spec import LinkageSpec
from linkage.lab.labelled import TestKey
from linkage.steward import encode as module
from linkage.steward.encode import encode

PEOPLE = 2_000
CHANCE = 0.1
"""A correlation that chance exceeds in seven of a million trials with so many people: a hundredth of the variance."""

Numbers = NDArray[np.float64]


@pytest.fixture(scope="module")
def people() -> pl.DataFrame:
    """People with names of 4 to 30 letters and any of five other fields."""
    rng = np.random.default_rng(11)

    def word(least: int, most: int) -> str:
        return "".join(rng.choice(list("ABCDEFGHIJKLMNOPRSTUVW"), rng.integers(least, most)))

    rows: list[dict[str, Any]] = []
    for _ in range(PEOPLE):
        rows.append({"given_name": word(2, 13), "family_name": word(2, 19), "sex": "F", "middle_name": None})
        others = {
            "birth_date": f"{rng.integers(1985, 2005)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
            "ssn4": f"{rng.integers(0, 10_000):04d}",
            "phone": f"{rng.integers(10**9, 10**10)}",
            "street": word(6, 22),
            "postal_code": f"{rng.integers(53_000, 54_000)}",
        }
        rows[-1] |= {name: value if rng.random() < 0.6 else None for name, value in others.items()}
    return pl.DataFrame(rows)


def properties(people: pl.DataFrame) -> dict[str, Numbers]:
    """What popcounts have been used for to guess: how long the names are, and how much a record has."""
    letters = people["given_name"].str.len_chars() + people["family_name"].str.len_chars()
    fields = ("birth_date", "ssn4", "phone", "street", "postal_code")
    filled = people.select(pl.sum_horizontal(pl.col(name).is_not_null() for name in fields)).to_series()
    return {"letters": letters.to_numpy().astype(float), "fields": filled.to_numpy().astype(float)}


def correlations(people: pl.DataFrame, spec: LinkageSpec, key: int) -> dict[tuple[str, str], float]:
    labels = [str(row) for row in range(PEOPLE)]
    made = encode(people, spec, TestKey(key), labels=labels, padding_key=b"p" * 32)
    found = {}
    for entry in spec.filters:
        ones = np.array([int.from_bytes(content, "little").bit_count() for content in made[entry.name]], float)
        for name, values in properties(people).items():
            found[entry.name, name] = abs(float(np.corrcoef(ones, values)[0, 1]))
    return found


@pytest.mark.parametrize("profile", ["default", "guarded"])
@pytest.mark.parametrize("key", [0, 1])
def test_with_constant_fill_popcounts_tell_nothing(people: pl.DataFrame, profile: str, key: int) -> None:
    assert max(correlations(people, load_spec(profile), key).values()) < CHANCE


@pytest.mark.parametrize("key", [0, 1])
def test_with_fixed_hashes_they_do_even_after_diffusion(people: pl.DataFrame, key: int) -> None:
    found = correlations(people, load_spec("precise"), key)
    assert found["family", "letters"] > 5 * CHANCE and found["birth", "fields"] > 2 * CHANCE


def test_the_same_spec_without_diffusion_and_constant_fill_tells_most_of_all(
    people: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the filters of ``default``, as in a plain cryptographic long-term key."""
    content = load_spec("default").model_dump() | {"hashing": {"kind": "fixed_hashes", "hashes": 10}}
    monkeypatch.setattr(module, "diffuse", lambda plain, _, out: np.copyto(out, plain))
    found = correlations(people, LinkageSpec.model_validate(content), 0)
    assert found["names", "letters"] > 5 * CHANCE and found["birth_place", "fields"] > 5 * CHANCE
