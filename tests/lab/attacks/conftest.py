"""Made-up people to attack, and specs from worst to good."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from linkage.contract.spec import LinkageSpec
from linkage.lab.attacks import People

FIELDS = {
    "given": {"kind": "name"},
    "family": {"kind": "name"},
    "born": {"kind": "date"},
    "zip": {"kind": "digits"},
}
TOKENS = {"given": "bigrams", "family": "bigrams", "born": "date", "zip": "positional"}


def make_spec(*, filters: dict[str, dict[str, float]], fill: float, inputs: int, masks: bool = False) -> LinkageSpec:
    return LinkageSpec.model_validate(
        {
            "linkage_spec": 1, "name": "tried", "title": "Tried", "rules": 1, "bits": 1024,
            "hashing": {"kind": "constant_fill", "fill": fill}, "diffusion": {"bits": 2048, "inputs": inputs},
            "presence_masks": masks, "variants": 1, "visible_edges": 1.0, "fields": FIELDS,
            "filters": [
                {"name": name, "parts": [
                    {"field": field, "tokens": TOKENS[field], "weight": weight} for field, weight in parts.items()
                ]}
                for name, parts in filters.items()
            ],
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def guarded() -> LinkageSpec:
    """Two filters of every field, well diffused."""
    return make_spec(
        filters={
            "names": {"given": 1.5, "family": 1.5, "born": 0.75, "zip": 0.5},
            "birth": {"given": 0.75, "family": 0.75, "born": 1.0, "zip": 1.0},
        },
        fill=0.42,
        inputs=6,
    )


@pytest.fixture(scope="session")
def thematic() -> LinkageSpec:
    """A filter a field, hardly diffused, with masks."""
    filters = {"given": {"given": 1.0}, "family": {"family": 1.0}, "birth": {"born": 1.0}, "place": {"zip": 1.0}}
    return make_spec(filters=filters, fill=0.3, inputs=2, masks=True)


@pytest.fixture(scope="session")
def people() -> People:
    """400 people of one source; of 300 of them another source has a record, a third of them with another ZIP code."""
    rng = np.random.default_rng(7)
    given, family = _names(rng, 2, 200), _names(rng, 3, 300)
    return People("a", *_sources(rng, given, family))


def _names(rng: np.random.Generator, syllables: int, count: int) -> list[str]:
    first, second = np.array(list("BDFGKLMNPRSTVZ")), np.array(["A", "E", "I", "O", "U", "AN", "EL", "IN", "OR"])
    made = {"".join(rng.choice(first) + rng.choice(second) for _ in range(syllables)) for _ in range(2 * count)}
    return sorted(made)[:count]


def _sources(rng: np.random.Generator, given: list[str], family: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    n = 400
    frame = pl.DataFrame(
        {
            "entity": [str(number) for number in range(n)],
            "given": [given[min(int(rng.exponential(30)), len(given) - 1)] for _ in range(n)],
            "family": [family[min(int(rng.exponential(60)), len(family) - 1)] for _ in range(n)],
            "born": [f"{rng.integers(1985, 2004)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}" for _ in range(n)],
            "zip": [f"532{rng.integers(2, 30):02d}" if rng.random() < 0.85 else None for _ in range(n)],
        }
    )
    moved = pl.Series([f"537{rng.integers(0, 99):02d}" if rng.random() < 0.33 else None for _ in range(n)])
    other = frame.with_columns(zip=moved.fill_null(frame["zip"])).sample(300, seed=3)
    return frame, other
