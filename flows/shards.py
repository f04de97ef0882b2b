"""A comparison through a folder that several machines share: encodings and plan once, findings a file a shard.

::

    <shared folder>/
      lock
      <digest of the encodings>/            for its owner alone; removed when the run is done, or fails
        rows-<part>.parquet                 filters, presence and record of each row
        design.npz                          the rest, without pseudonyms and names of sources; written last
        <digest of what is asked>/          one a comparison: sources with repeats are compared up to three times
          known.npy, plan.npz
          <kind>-<first>-<last>.npz         what a shard yielded; a shard with it is done

Nothing here knows who examines the shards: any function that calls :func:`examine_shard` for each, somewhere, will do.
A run that was killed finds at its next start what was done and examines the rest; its plan it makes anew, and what a
shard yielded is looked at before it is used, for whoever examines can write here.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linkage import __version__
from linkage.cli.console import say
from linkage.errors import LinkError
from linkage.exchange import atomic_write, file_digest
from linkage.exchange.keyfile import make_private_folder
from linkage.hub.block import BUDGET, RECALL
from linkage.hub.compare import LEVELS, Candidates, examine, gather, plan_comparison
from linkage.hub.encoded import Encoded, memory_lines
from linkage.hub.kernels import MISSING
from linkage.hub.plan import Found, Plan, Shard, deal, load_found, load_plan, save_found, save_plan
from linkage.hub.state import StateFolder

__all__ = ["SHARDS", "Comparer", "Examiner", "examine_shard", "forget", "shared_comparison", "sweep"]

Comparer = Callable[[Encoded, int], Candidates]
"""What :func:`linkage.hub.link.link` has the records compared by."""

Examiner = Callable[[str, Sequence[str]], list[str]]
"""Given a comparison's folder and names of shards, has each examined and returns the digests of their files."""

SHARDS = 64
"""Parts that a comparison is cut into: coarse, each costs its own passage through the engine."""

DESIGN, KNOWN, PLAN = "design.npz", "known.npy", "plan.npz"

_PART = 1_000_000  # rows of a Parquet file, and of a shard at most: bounds what is held twice
_FOLDER = re.compile(r"\.?[0-9a-f]{32}(\.[0-9a-f]{12})?")
_KINDS = get_args(get_type_hints(Shard)["kind"])
_SHARD = re.compile(rf"({'|'.join(_KINDS)})-(\d+)-(\d+)")
_SMALL = ("strata", "source", "variants", "deduplicated")
_ONE = threading.Lock()  # an examination uses all threads that its process has


@contextmanager
def shared_comparison(
    folder: Path, examiner: Examiner, *, shards: int = SHARDS, budget: float = BUDGET, recall: float = RECALL
) -> Iterator[Comparer]:
    """Give a comparer that has the shards examined by others, through a shared folder.

    At the end, whatever that is, the folder is swept; what a killed run left there is used before, or removed. Where
    it cannot be swept that is told on stderr, and changes nothing else: the comparison is whole.

    Parameters
    ----------
    folder
        The shared folder, under the same path for all who examine. It is this hub's alone.
    examiner
        Has shards examined, and returns when none is examined any more.
    shards
        About so many shards are made of a comparison.
    budget, recall
        As in :func:`linkage.hub.compare.compare`.

    Yields
    ------
    Comparer
        Its candidates are those of :func:`linkage.hub.compare.compare`, bit for bit.

    Raises
    ------
    LinkError
        ``busy``: another run uses the folder.
    """
    root = Path(folder).absolute()
    made: set[Path] = set()

    def compare(encoded: Encoded, seed: int) -> Candidates:
        digest = _digest_rows(encoded)
        place = root / digest
        made.add(place)
        _sweep(root, keep=made)
        _write_rows(encoded, place)
        number = max(shards, 1 + len(encoded.record) // _PART)
        asked = [encoded.known, np.array([seed, number]), np.array([budget, recall])]
        target = place / _digest(digest, *asked)
        plan = plan_comparison(encoded, seed=seed, budget=budget, recall=recall)
        _write_plan(encoded, plan, target)
        return gather(encoded, plan, _findings(encoded, plan, target, deal(encoded, plan, number), examiner))

    with StateFolder(root).locked():
        try:
            yield compare
        finally:
            try:
                _sweep(root)
            except OSError:  # how the run ended is what counts
                say(f"warning: encodings are left in {root}; take them away with: python -m flows.sweep")


def sweep(folder: Path) -> int:
    """Remove what a killed run left in a shared folder; return the number of folders.

    Raises
    ------
    LinkError
        ``busy``: a run uses it.
    OSError
        Something cannot be removed.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        return 0
    with StateFolder(root).locked():
        return _sweep(root)


def examine_shard(folder: str, name: str) -> str:
    """Examine one shard of a comparison, unless that is done, and return the digest of what it yielded.

    Parameters
    ----------
    folder
        The comparison's folder.
    name
        The shard: its kind, first and last, joined by hyphens.

    Raises
    ------
    LinkError
        ``damaged`` or ``version-differs``: what is in the folder was not written by this version, or is not whole; or
        what :func:`linkage.hub.compare.examine` raises.
    OSError
        The folder cannot be reached.
    """
    parts = _SHARD.fullmatch(name)
    if parts is None:
        raise LinkError("not the name of a shard", reason="no-shard")
    place = Path(folder)
    target = place / f"{name}.npz"
    shard = Shard(_KINDS[_KINDS.index(parts[1])], int(parts[2]), int(parts[3]))
    if not target.is_file():
        with _ONE:
            encoded, plan = _comparison(place)
            found = examine(encoded, plan, shard)
            place.stat()  # where the run was given up meanwhile, its folder is not made anew
            save_found(found, target)
    return file_digest(target)


def forget() -> None:
    """Let go of the encodings that this process holds."""
    with _ONE:
        _comparison.cache_clear()
        _read_rows.cache_clear()


# --- the hub's side


def _findings(encoded: Encoded, plan: Plan, target: Path, shards: list[Shard], examiner: Examiner) -> list[Found]:
    """Have all shards examined that are not done, and read what they yielded."""
    named = {f"{shard.kind}-{shard.first}-{shard.last}": shard for shard in shards}
    founds: dict[str, Found] = {}
    for name, shard in named.items():
        path = target / f"{name}.npz"
        if path.is_file():
            try:
                founds[name] = _read_found(path, encoded, plan, shard)
            except LinkError:  # cut off, or not of this program: the shard is examined anew
                path.unlink()
    names = [name for name in named if name not in founds]
    digests = examiner(str(target), names) if names else []
    for name, digest in zip(names, digests, strict=True):
        path = target / f"{name}.npz"
        if file_digest(path) != digest:
            raise _damaged(path)
        founds[name] = _read_found(path, encoded, plan, named[name])
    return list(founds.values())


def _read_found(path: Path, encoded: Encoded, plan: Plan, shard: Shard) -> Found:
    """Read what a shard yielded, and see that it is such: compiled code takes its numbers for places in memory."""
    try:
        found = load_found(path)
    except LinkError:
        raise
    except Exception:  # an archive can be broken in many ways
        raise _damaged(path) from None
    pairs, filters, rows = len(found.left), encoded.classes.shape[1], len(encoded.record)
    span = shard.last - shard.first
    bits = plan.blocking.crowd_bits if shard.kind == "keys" and plan.blocking is not None else np.zeros(0, np.uint8)
    by_row, by_key = span * (shard.kind == "rows"), span * (shard.kind == "keys")
    shapes = {
        "left": (np.int32, (pairs,)),
        "right": (np.int32, (pairs,)),
        "levels": (np.uint8, (pairs, filters)),
        "strata": (np.uint8, (pairs, filters)),
        "parted": (np.uint8, (pairs,)),
        "counts": (np.uint16, (by_row, filters, LEVELS)),
        "skipped": (np.float64, (by_key,)),
        "scored": (np.float64, (by_key,)),
    }
    arrays = {name: getattr(found, name) for name in shapes}
    whole = (found.kind, found.first, found.last) == (shard.kind, shard.first, shard.last) and all(
        isinstance(arrays[name], np.ndarray) and (arrays[name].dtype, arrays[name].shape) == (np.dtype(kind), shape)
        for name, (kind, shape) in shapes.items()
    )
    if not (
        whole
        and all(((0 <= side) & (side < rows)).all() for side in (found.left, found.right))
        and ((found.levels < LEVELS) | (found.levels == MISSING)).all()
        and ((found.strata < plan.level_of.shape[1]) | (found.strata == MISSING)).all()
        and ((found.levels == MISSING) == (found.strata == MISSING)).all()
        and (found.parted <= bits.max(initial=0)).all()
        and all((np.isfinite(count) & (count >= 0)).all() for count in (found.skipped, found.scored))
    ):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> LinkError:
    return LinkError(
        f"{path}: not what its worker wrote",
        reason="damaged",
        hint="start the run again; if this comes back, look at the shared storage and at the workers",
    )


def _write_plan(encoded: Encoded, plan: Plan, target: Path) -> None:
    """Write what workers need of one comparison, in place of what a killed run left; the plan last."""
    make_private_folder(target)
    with atomic_write(target / KNOWN, private=True) as temporary, temporary.open("wb") as file:
        np.save(file, encoded.known, allow_pickle=False)
    save_plan(plan, target / PLAN)


def _write_rows(encoded: Encoded, place: Path) -> None:
    """Write what workers need of the encodings: no pseudonym, no name of a source."""
    if (place / DESIGN).is_file():
        return
    make_private_folder(place)
    filters, rows = encoded.classes.shape[1], len(encoded.record)
    for part, first in enumerate(range(0, rows, _PART)):
        here = slice(first, first + _PART)
        columns = {
            f"filter_{number}": pl.Series(
                encoded.words[here, number * encoded.width : (number + 1) * encoded.width].copy(),
                dtype=pl.Array(pl.UInt64, encoded.width),
            )
            for number in range(filters)
        }
        columns["classes"] = pl.Series(encoded.classes[here].copy(), dtype=pl.Array(pl.UInt8, filters))
        columns["record"] = pl.Series(encoded.record[here].copy())
        with atomic_write(_part(place, part), private=True) as temporary:
            # Nothing tells bits of a filter apart from random ones: they cannot be made smaller.
            pl.DataFrame(columns).write_parquet(temporary, compression="uncompressed", statistics=False)
    small = {name: getattr(encoded, name) for name in _SMALL}
    numbers = {"rows": rows, "width": encoded.width, "filters": filters}
    plain = {name: np.array(value) for name, value in {**numbers, "version": __version__}.items()}
    with atomic_write(place / DESIGN, private=True) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **small, **plain)


def _part(place: Path, number: int) -> Path:
    return place / f"rows-{number:05d}.parquet"


def _sweep(root: Path, keep: Collection[Path] = ()) -> int:
    """Take away all that a comparison writes, but what is to be kept; what cannot be is told after the rest is gone."""
    left = [path for path in root.iterdir() if _FOLDER.fullmatch(path.name) and path not in keep]
    failed: OSError | None = None
    for path in left:
        try:
            _remove(path)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return len(left)


def _remove(place: Path) -> None:
    """Take a folder away: at once for those who look for it, then file by file."""
    going = place if place.name.startswith(".") else place.with_name(f".{place.name}.{secrets.token_hex(6)}")
    place.rename(going)
    if going.is_symlink():
        going.unlink()
    else:
        shutil.rmtree(going)


def _digest_rows(encoded: Encoded) -> str:
    arrays = [getattr(encoded, name) for name in ("words", "classes", "record", *_SMALL)]
    return _digest(__version__, *arrays, np.array(encoded.width))


def _digest(start: str, *arrays: NDArray[Any]) -> str:
    total = hashlib.sha256(start.encode())
    for array in arrays:
        total.update(f"|{array.dtype.str}{array.shape}|".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()[:32]


# --- a worker's side: the encodings are read once a process


@lru_cache(maxsize=1)
def _comparison(folder: Path) -> tuple[Encoded, Plan]:
    (folder / PLAN).stat()  # on a slow share it may not be there yet: an error of files, which is tried again
    known = np.load(folder / KNOWN, allow_pickle=False)
    return replace(_read_rows(folder.parent), known=known), load_plan(folder / PLAN)


@lru_cache(maxsize=1)
def _read_rows(place: Path) -> Encoded:
    with np.load(place / DESIGN, allow_pickle=False) as archive:
        design = {name: archive[name] for name in archive.files}
    if str(design["version"]) != __version__:
        raise LinkError(
            "this worker has another version of the program than the hub",
            reason="version-differs",
            hint="install the same release, with the same constraints.txt, on hub, scheduler and workers",
        )
    rows, width, filters = (int(design[name]) for name in ("rows", "width", "filters"))
    words = memory_lines(rows, filters * width)
    classes = np.empty((rows, filters), np.uint8)
    record = np.empty(rows, np.int64)
    for part, first in enumerate(range(0, rows, _PART)):
        here = slice(first, min(rows, first + _PART))
        frame = pl.read_parquet(_part(place, part), memory_map=False)
        for number in range(filters):
            words[here, number * width : (number + 1) * width] = frame[f"filter_{number}"].to_numpy()
        classes[here], record[here] = frame["classes"].to_numpy(), frame["record"].to_numpy()
    number, records = len(design["deduplicated"]), len(design["source"])
    unnamed = pl.repeat(None, records, dtype=pl.String)
    encoded = Encoded(
        words=words,
        width=width,
        classes=classes,
        strata=design["strata"],
        record=record,
        source=design["source"],
        variants=design["variants"],
        sources=tuple(str(place) for place in range(number)),
        deduplicated=design["deduplicated"],
        labels=pl.select(source=unnamed, pseudonym=unnamed),
        known=np.arange(records),
    )
    if _digest_rows(encoded) != place.name:
        raise LinkError(
            f"{place}: the encodings are not those that were written",
            reason="damaged",
            hint="start the run again; if this comes back, look at the shared storage",
        )
    return encoded
