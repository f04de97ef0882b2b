"""What opens encodings, and what links two epochs: orders, approvals, opening keys, bridges, one good file of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import polars as pl

from linkage.exchange import Party, create_party, load_party
from linkage.exchange.approval.orders import Order, OrderedBatch, approve, open_approval, read_order, write_order
from linkage.exchange.approval.shared import SharedOpening, create_opening, load_opening
from linkage.exchange.bridge import open_bridge, read_bridge_manifest, seal_bridge
from linkage.exchange.opening import OpeningKey

__all__ = ["NAMES", "reader", "seed"]

NAMES = ("opening", "run-order", "approval", "bridge")


class Made(NamedTuple):
    """Parties, an opening key in shares, an order for a run, and the files that they are in."""

    hub: Party
    holders: list[Party]
    opening: SharedOpening
    order: Order
    digest: str
    key: OpeningKey
    files: dict[str, bytes]


@cache
def made(root: Path) -> Made:
    folder = root / "openings"
    hub, *holders = (load_party(create_party(folder / name, name)[0]) for name in ("hub", "dcf", "mpd"))
    paths = {name: folder / f"file-{name}" for name in NAMES}
    opening = create_opening(paths["opening"], "milwaukee", "2026-1", [holder.public for holder in holders], 2)
    key = OpeningKey.create()
    order, digest = write_order(
        paths["run-order"],
        project="milwaukee",
        epoch="2026-1",
        month="2026-11",
        spec_digest="1" * 64,
        opening=opening,
        batches=[OrderedBatch(source="mpd", digest="a" * 64)],
        analysis=holders[0].public,
        key=key.public,
        hub=hub,
    )
    approve(order, digest, paths["approval"], opening=opening, party=holders[0])
    pairs = pl.DataFrame({"before": ["a" * 32, "b" * 32], "after": ["c" * 32, "d" * 32]})
    seal_bridge(paths["bridge"], pairs, holders[1], hub.public, project="milwaukee", epoch="2026-1", source="mpd")
    return Made(hub, holders, opening, order, digest, key, {name: path.read_bytes() for name, path in paths.items()})


def seed(name: str, root: Path) -> bytes:
    return made(root).files[name]


def reader(name: str, root: Path) -> Callable[[Path], object]:
    def approval(path: Path) -> None:
        all_of = made(root)
        holders = [holder.public for holder in all_of.holders]
        open_approval(path, all_of.digest, opening=all_of.opening, holders=holders, key=all_of.key)

    def bridge(path: Path) -> None:
        read_bridge_manifest(path)
        open_bridge(path, made(root).hub, made(root).holders[1].public)

    return {
        "opening": load_opening,
        "run-order": lambda path: read_order(path, made(root).hub.public),
        "approval": approval,
        "bridge": bridge,
    }[name]
