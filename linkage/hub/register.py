"""The register of persons on the hub's disk: written whole or not at all, believed only as the ledger names it.

::

    state/registry/<digest>.records     Parquet, 0600: source, pseudonym, id, first and last month
    state/registry/<digest>.changes     Parquet, 0600: month, kind, before, after

A new state is written under its digests, then named in the ledger, and only then is the state before destroyed. So a
run that was killed before the entry has changed nothing, and one that was killed after it finds its own entry and
returns the very same ids. What lies in the folder and is not named last in the ledger does not count.

A bridge run is the first run under another epoch than the one before. Its encodings come from another key, so that
nothing but pseudonyms can carry ids across; it is refused where an agency's pseudonyms have hardly anything in common
with those before.

All functions are to be called under the state folder's lock.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from linkage.errors import LinkError, SealError
from linkage.exchange import Party, atomic_write, ledger
from linkage.exchange.frames import to_parquet
from linkage.exchange.keyfile import make_private_folder
from linkage.hub.destroy import destroy
from linkage.hub.registry import CHANGES, RECORDS, Carried, Registry, carry, forget, rename
from linkage.hub.state import StateFolder

__all__ = ["BRIDGED", "FORGET", "REGISTER", "Registered", "forget_records", "read_registry", "register", "take_bridge"]

REGISTER, FORGET, BRIDGED = "register", "forget", "bridge"
"""Actions in the ledger: a run's persons got their ids, records were forgotten, an agency's pseudonyms were renamed."""

HARDLY, KNOWN_FROM = 0.1, 20
"""A source's pseudonyms have changed where less than this share of them is known, of at least so many before."""

_COUNTS = ("carried", "new", "split", "merged")


@dataclass(frozen=True)
class Registered:
    """What registering a run gave.

    Attributes
    ----------
    ids
        The id of each person of the run, by its number. Confidential, and of no meaning outside of the hub.
    summary
        For ``quality.json``: ``carried``, ``new``, ``split`` and ``merged`` (see
        :class:`linkage.hub.registry.Carried`), and ``bridge``: None, or ``from`` and ``to``, the epochs that this run
        joins.
    """

    ids: list[str]
    summary: dict[str, Any]


def register(
    persons: pl.DataFrame, *, folder: StateFolder, hub: Party, run_id: str, month: str, epoch: str
) -> Registered:
    """Give the persons of a run the ids they keep, and have it on record.

    The same run registered again, next after itself, changes nothing and gives the same.

    Parameters
    ----------
    persons
        Frame (source, pseudonym, person) of the run (:attr:`linkage.hub.link.Linked.persons`).
    folder, hub
        Whose register, and in whose name.
    run_id, month, epoch
        Of the run.

    Raises
    ------
    LinkError
        ``pseudonyms-changed``: in a bridge run, when hardly a pseudonym of a source is known from before.
    SealError
        ``lost``, ``damaged`` or ``ledger-broken``: the register is not the one that the ledger names.
    """
    entries = _entries(folder)
    last = entries[-1] if entries else None
    latest = next((entry for entry in reversed(entries) if entry.action == REGISTER), None)
    before = _read(folder, last)
    if latest is not None and latest is last and latest.extra["run_id"] == run_id:
        again = _ids_of(persons, before)
        if again is not None:
            return Registered(again, _summary(latest.extra))
    carried = carry(persons, before, month)
    bridged = str(latest.extra["epoch"]) if latest is not None and latest.extra["epoch"] != epoch else None
    if bridged is not None:
        _require_known(carried, before)
    extra: dict[str, str | bool | int | None] = {
        "run_id": run_id,
        "month": month,
        "epoch": epoch,
        "bridged_from": bridged,
        **{name: getattr(carried, name) for name in _COUNTS},
    }
    _write(folder, hub, REGISTER, carried.registry, extra)
    return Registered(carried.ids, _summary(extra))


def _summary(extra: Mapping[str, Any]) -> dict[str, Any]:
    bridged = extra["bridged_from"]
    bridge = None if bridged is None else {"from": bridged, "to": extra["epoch"]}
    return {**{name: extra[name] for name in _COUNTS}, "bridge": bridge}


def _ids_of(persons: pl.DataFrame, registry: Registry) -> list[str] | None:
    """Return the ids that the persons have in the register; None if these are not the persons that it knows."""
    found = persons.join(registry.records, on=["source", "pseudonym"], how="left").select("person", "id")
    pairs = found.unique().sort("person")
    whole = pairs["id"].null_count() == 0 and len(pairs) == pairs["person"].n_unique() == pairs["id"].n_unique()
    return pairs["id"].to_list() if whole else None


def _require_known(carried: Carried, before: Registry) -> None:
    """Refuse a bridge that carries nothing for a source: its ids would all be new, and nobody would notice."""
    counts = dict(before.records.group_by("source").len().iter_rows())
    strange = [source for source, share in carried.known.items() if share < HARDLY and counts[source] >= KNOWN_FROM]
    if strange:
        raise LinkError(
            f"hardly a pseudonym is known from the epoch before, of source {', '.join(strange)}",
            reason="pseudonyms-changed",
            hint="its party key was made anew instead of renewed: ask for a bridge file (linkage steward bridge), take"
            " it in with linkage hub bridge, and run again; if it cannot make one: linkage hub forget SOURCE --all",
        )


def forget_records(folder: StateFolder, hub: Party, source: str, pseudonyms: Collection[str] | None) -> int:
    """Forget records of a source in the register: those named, or all (None); return how many that were.

    Records still in the source's batches come back at the next run, as strangers: the agency takes them out first.

    Raises
    ------
    SealError
        As :func:`register`.
    """
    before = read_registry(folder)
    after = forget(before, source, pseudonyms)
    forgotten = before.records.height - after.records.height
    if forgotten:
        _write(folder, hub, FORGET, after, {"source": source, "records": forgotten})
    return forgotten


def take_bridge(folder: StateFolder, hub: Party, source: str, pairs: pl.DataFrame, *, digest: str) -> int:
    """Give records of a source the new pseudonyms of a bridge file; return how many have them now.

    Parameters
    ----------
    source, pairs
        See :func:`linkage.hub.registry.rename`.
    digest
        SHA-256 of the bridge file, hex.

    Raises
    ------
    LinkError
        ``already-known``, see :func:`linkage.hub.registry.rename`.
    SealError
        As :func:`register`.
    """
    after, renamed = rename(read_registry(folder), source, pairs)
    if renamed:
        _write(folder, hub, BRIDGED, after, {"source": source, "renamed": renamed, "file": digest})
    return renamed


def read_registry(folder: StateFolder) -> Registry:
    """Read the register that the ledger names last; an empty one if it names none.

    Raises
    ------
    SealError
        As :func:`register`.
    """
    return _read(folder, _last(folder))


# --- files


def _entries(folder: StateFolder) -> list[ledger.Entry]:
    if not folder.ledger.exists():
        return []
    return [entry for entry in ledger.entries(folder.ledger) if entry.action in (REGISTER, FORGET, BRIDGED)]


def _last(folder: StateFolder) -> ledger.Entry | None:
    found = _entries(folder)
    return found[-1] if found else None


def _read(folder: StateFolder, entry: ledger.Entry | None) -> Registry:
    if entry is None:
        return Registry.empty()
    _clear(folder, {f"{entry.object}.records", f"{entry.extra['changes']}.changes"})
    return Registry(
        _table(folder.root / "registry" / f"{entry.object}.records", RECORDS),
        _table(folder.root / "registry" / f"{entry.extra['changes']}.changes", CHANGES),
    )


def _table(path: Path, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    copy = "bring it back from a copy: without it every person would get a new id"
    try:
        content = path.read_bytes()
    except OSError:
        raise SealError(f"{path}: the ledger names this register and it is gone", reason="lost", hint=copy) from None
    if hashlib.sha256(content).hexdigest() != path.stem:
        raise SealError(f"{path}: not the register that the ledger names", reason="damaged", hint=copy)
    return pl.read_parquet(io.BytesIO(content)).select(list(schema))


def _write(
    folder: StateFolder, hub: Party, action: str, registry: Registry, extra: dict[str, str | bool | int | None]
) -> None:
    """Write a new state, name it in the ledger, destroy what is not named there."""
    place = folder.root / "registry"
    make_private_folder(place)
    tables = {"records": to_parquet(registry.records), "changes": to_parquet(registry.changes)}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    for name, content in tables.items():
        with atomic_write(place / f"{digests[name]}.{name}", private=True) as temporary:
            temporary.write_bytes(content)
    ledger.append(
        folder.ledger,
        actor=hub.name,
        action=action,
        object_digest=digests["records"],
        extra={**extra, "changes": digests["changes"]},
    )
    _clear(folder, {f"{digest}.{name}" for name, digest in digests.items()})


def _clear(folder: StateFolder, kept: Collection[str]) -> None:
    """Destroy all in the register's folder but these: states before, and what killed runs left."""
    place = folder.root / "registry"
    for path in place.iterdir() if place.is_dir() else ():
        if path.name not in kept:
            destroy(path)
