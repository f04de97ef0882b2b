"""New pseudonyms at an agency: pairs of exactly those who are submitted, and none where there is nothing to bridge."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.errors import ContractError, ExtractError, LinkageError, NotPermittedError
from linkage.exchange import create_party, load_party, renew_party
from linkage.exchange.bridge import open_bridge
from linkage.steward.bridge import bridge


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("keys")
    old = create_party(folder / "old", "shelter")[0]
    return SimpleNamespace(
        old=load_party(old),
        new=load_party(create_party(folder / "new", "shelter")[0]),
        renewed=load_party(renew_party(old, folder / "renewed")[0]),
        hub=load_party(create_party(folder / "hub", "hub")[0]),
    )


@pytest.fixture
def seal(
    tmp_path: Path,
    keys: SimpleNamespace,
    make_schema: Callable[..., SourceSchema],
    make_agreement: Callable[..., Agreement],
    today: dt.date,
) -> Callable[..., Any]:
    def run(extract: Path, **changes: Any) -> Any:
        usual: dict[str, Any] = {
            "schema": make_schema(),
            "agreement": make_agreement(),
            "old": keys.old,
            "new": keys.new,
            "hub": keys.hub.public,
            "outbox": tmp_path / "outbox",
            "project": "test",
            "epoch": "2027-1",
            "today": today,
        }
        return bridge(extract, **(usual | changes))

    return run


def rows_of(make_rows: Callable[..., list[dict[str, str]]], count: int = 4) -> list[dict[str, str]]:
    return make_rows(*({"PID": f"PERSON-{number}"} for number in range(count)))


def test_pairs_are_of_those_who_are_submitted(
    seal: Callable[..., Any],
    keys: SimpleNamespace,
    make_rows: Callable[..., list[dict[str, str]]],
    write_csv: Callable[..., Path],
) -> None:
    path, manifest = seal(write_csv(rows_of(make_rows)))
    assert path.name == f"{manifest.source}-2027-1.bridge"
    _, pairs = open_bridge(path, keys.hub, keys.new.public)
    people = [f"PERSON-{number}" for number in range(4)]
    assert set(pairs.rows()) == set(zip(keys.old.pseudonyms(people), keys.new.pseudonyms(people), strict=True))
    assert not [name for name in people if name.encode() in path.read_bytes()]


def test_what_has_nothing_to_bridge_is_refused(
    seal: Callable[..., Any],
    keys: SimpleNamespace,
    tmp_path: Path,
    make_rows: Callable[..., list[dict[str, str]]],
    make_agreement: Callable[..., Agreement],
    make_schema: Callable[..., SourceSchema],
    write_csv: Callable[..., Path],
) -> None:
    whole, one = write_csv(rows_of(make_rows)), write_csv(rows_of(make_rows, 1), "one.csv")
    cases: list[tuple[type[LinkageError], str, Path, dict[str, Any]]] = [
        (ContractError, "same-pseudonyms", whole, {"new": keys.renewed}),
        (NotPermittedError, "aggregate-only", whole, {"agreement": make_agreement(mode="aggregate")}),
        (ContractError, "no-person-number", whole, {"schema": make_schema(person_number=None, deduplicated=False)}),
        (ExtractError, "too-few-records", one, {}),
    ]
    for kind, reason, extract, changes in cases:
        with pytest.raises(kind) as refused:
            seal(extract, **changes)
        assert refused.value.reason == reason
    assert not (tmp_path / "outbox").exists()
