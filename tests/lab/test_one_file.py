"""One file with repeats and nothing beside it: no pair is known to be unlike, and frequent names lump together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkage.contract.spec import LinkageSpec
from linkage.hub import link
from linkage.lab.labelled import TestKey, encode_labelled, read_labelled

FIRST = "ADA BEN CARA DEAN ELLA FRED GINA HUGO IDA JACK KIM LEO MAE NED OLGA PAUL RITA SAM TINA URI VERA WADE".split()
LAST = (
    "ARCHER BAXTER COOPER DAWSON EVANS FISHER GRANT HAYES IRVING JENSEN KELLER LARSEN MASON NOLAN OWENS PRICE".split()
)
STREETS = "MAIN OAK ELM WATER WELLS STATE VLIET CENTER".split()

PARTS = {  # field -> kind, tokens, weight in either filter
    "given": ("name", "bigrams", 1.5, 0.75),
    "surname": ("name", "bigrams", 1.5, 0.75),
    "dob": ("date", "date", 0.75, 1.0),
    "zip": ("digits", "positional", 0.4, 1.5),
    "phone": ("digits", "positional", 0.3, 0.5),
    "street": ("text", "bigrams", 0.2, 0.5),
}
SPEC = LinkageSpec.model_validate(
    {
        "linkage_spec": 1,
        "name": "one_file",
        "title": "One file",
        "rules": 1,
        "fields": {field: {"kind": part[0]} for field, part in PARTS.items()},
        "bits": 2048,
        "hashing": {"kind": "constant_fill", "fill": 0.27},
        "diffusion": {"bits": 2048, "inputs": 5},
        "presence_masks": False,
        "variants": 1,
        "visible_edges": 1.0,
        "filters": [
            {"name": name, "parts": [{"field": f, "tokens": p[1], "weight": p[place]} for f, p in PARTS.items()]}
            for name, place in (("names", 2), ("birth_place", 3))
        ],
    }
)


def slip(text: str, rng: np.random.Generator) -> str:
    """Swap two neighbours, or leave one out."""
    at = int(rng.integers(0, len(text) - 1))
    return text[:at] + text[at + 1] + (text[at] if rng.random() < 0.5 else "") + text[at + 2 :]


def draw(names: list[str], rng: np.random.Generator) -> str:
    share = np.arange(1, len(names) + 1) ** -0.6
    return str(rng.choice(names, p=share / share.sum()))


def records(persons: int, several: float, seed: int) -> pl.DataFrame:
    """Draw persons, of whom a share has a second record with slips; none of them exists."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(persons):
        row = {
            "given": draw(FIRST, rng),
            "surname": draw(LAST, rng),
            "dob": f"{rng.integers(1985, 2005)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
            "street": f"{rng.integers(1, 999)} {draw(STREETS, rng)} ST",
            "zip": f"532{rng.integers(0, 40):02d}",
            "phone": f"414{rng.integers(10**6, 10**7)}" if rng.random() > 0.3 else None,
            "person": str(person),
        }
        rows.append(row)
        if rng.random() < several:
            again = {f: slip(str(row[f]), rng) for f in ("given", "surname", "dob", "zip") if rng.random() < 0.12}
            rows.append({**row, **again})
    return pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=seed)


def links(folder: Path, frame: pl.DataFrame, key: int) -> tuple[int, int, int]:
    """Link the file; return its true pairs, the linked ones, and how many of these are true."""
    frame.write_parquet(folder / "records.parquet")
    read = read_labelled(folder / "records.parquet", SPEC, source_column=None, entity_column="person").frame
    encodings = encode_labelled(read, SPEC, TestKey(key))
    persons = link(encodings, SPEC, repeats=frozenset(encodings), draws=5).persons
    entity = read["entity"].gather(persons["pseudonym"].cast(pl.Int64))
    sizes = [
        frame.group_by(*columns).len()["len"].to_numpy()
        for frame, columns in (
            (read, ["entity"]),
            (persons, ["person"]),
            (persons.with_columns(entity=entity), ["person", "entity"]),
        )
    ]
    true, found, right = (int((size * (size - 1) // 2).sum()) for size in sizes)
    return true, found, right


@pytest.mark.parametrize(("persons", "several", "least"), [(300, 0.5, 0.88), (400, 0.2, 0.85), (1000, 0.4, 0.85)])
@pytest.mark.parametrize("key", [0, 1])
def test_repeats_are_found_among_frequent_names(
    tmp_path: Path, persons: int, several: float, least: float, key: int
) -> None:
    true, found, right = links(tmp_path, records(persons, several, seed=persons), key)
    assert 2 * right / (true + found) > least, (true, found, right)


@pytest.mark.parametrize("persons", [400, 1000])
def test_where_nobody_is_there_twice_next_to_nobody_is_linked(tmp_path: Path, persons: int) -> None:
    true, found, _ = links(tmp_path, records(persons, 0.0, seed=persons + 1), key=0)
    assert true == 0
    assert found <= persons // 50
