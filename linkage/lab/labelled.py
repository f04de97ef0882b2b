"""Labelled files: plain records of which it is known who is who, read by a spec and encoded as an agency would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from linkage.contract.spec import LinkageSpec
from linkage.contract.vocabulary import IdentifierKind
from linkage.errors import NO_SUCH_FILE, ContractError
from linkage.steward.encode import encode
from linkage.steward.presence import share_patterns
from linkage.steward.standardise import as_text, standardise_series

__all__ = ["READS", "Labelled", "TestKey", "encode_labelled", "read_labelled"]

READS: dict[str, str] = {
    "name": "words with at least one letter",
    "text": "text with at least one letter or digit",
    "date": "YYYY-MM-DD, YYYYMMDD, YYYY-MM or YYYY (also with . or /, and with a time after it), and no other order",
    "digits": "text with at least one digit other than 0",
    "code": "text with at least one letter or digit",
}
"""What a cell of each kind has to look like, in words."""

_FIELD = "field:"
_ONLY = "all"  # name of the source of a file that has no column of sources


@dataclass(frozen=True)
class TestKey:
    """A key tree for measurements, drawn from a seed so that they can be repeated. Never for a person's data."""

    __test__ = False

    seed: int

    def derive(self, *, spec_digest: str, purpose: str, field: str = "") -> bytes:
        """Return 32 bytes for one purpose."""
        return hashlib.sha256(f"test key {self.seed}\0{spec_digest}\0{purpose}\0{field}".encode()).digest()


@dataclass(frozen=True)
class Labelled:
    """A labelled file in standard form.

    Attributes
    ----------
    frame
        One row a record: ``source``, ``entity`` (who it really is), and ``field:<name>`` for each field of the spec.
    unreadable
        Field -> filled cells that have no standard form; fields without such cells are left out.
    """

    frame: pl.DataFrame
    unreadable: dict[str, int]


def read_labelled(path: Path, spec: LinkageSpec, *, source_column: str | None, entity_column: str | None) -> Labelled:
    """Read a labelled file by a spec.

    Parameters
    ----------
    path
        Parquet (``.parquet``, ``.pq``), tab-separated (``.tsv``) or else comma-separated text in UTF-8; a row a record.
        Each field of the spec is read from its ``column``, else from the column of its own name. In Parquet a field may
        be a list: all its values are the record's.
    source_column
        Column that says which file a record belongs to; None if the records are all of one.
    entity_column
        Column that says who it really is. Any type: two records are one person if the entries are equal. None if each
        record is a person of its own.

    Raises
    ------
    ContractError
        The file cannot be read, a column is not there, a row has no source or entity, or a field has no readable cell.
    """
    columns = {name: entry.column or name for name, entry in spec.fields.items()}
    raw = _open(path)
    wanted = [*columns.values(), *(column for column in (entity_column, source_column) if column is not None)]
    missing = sorted(set(wanted) - set(raw.columns))
    if missing:
        raise ContractError(
            f"{path}: columns that the spec or the call names are not in the file",
            reason="missing-columns",
            problems=missing,
            hint=f"give a field's column in the spec as 'column'; the file has: {', '.join(raw.columns)}",
        )
    if raw.is_empty():
        raise ContractError(f"{path}: the file holds no record", reason="no-records")
    source = pl.Series([_ONLY] * len(raw)) if source_column is None else _label(path, raw[source_column])
    rows = pl.Series(range(len(raw)), dtype=pl.Int64).cast(pl.String)
    entity = rows if entity_column is None else _label(path, raw[entity_column])
    frame = pl.DataFrame([source.alias("source"), entity.alias("entity")])
    unreadable = {}
    for name, column in columns.items():
        kind = spec.fields[name].kind
        values, filled, read = _standard(kind, raw[column])
        if filled and not read:
            raise ContractError(
                f"{path}: not one of the filled cells of column {column} can be read as {kind}",
                reason="unreadable-field",
                hint=f"{kind} is {READS[kind]}; rewrite the column, or give the field another kind in the spec",
            )
        if filled > read:
            unreadable[name] = filled - read
        # A field may itself be called "source" or "entity": the prefix keeps them apart.
        frame = frame.with_columns(values.alias(f"{_FIELD}{name}"))
    return Labelled(frame, unreadable)


def encode_labelled(
    frame: pl.DataFrame, spec: LinkageSpec, key: TestKey, *, progress: Callable[[str], None] | None = None
) -> dict[str, pl.DataFrame]:
    """Encode each source's records; a record's pseudonym is its row number, written with twelve digits."""
    padding = key.derive(spec_digest=spec.digest, purpose="padding")
    parts = frame.with_row_index("place").partition_by("source", as_dict=True, maintain_order=True)
    encodings = {}
    for number, ((source,), part) in enumerate(parts.items(), start=1):
        if progress is not None:
            progress(f"encoding source {number} of {len(parts)}: {len(part):,} records")
        fields = part.select(pl.col(f"{_FIELD}{name}").alias(name) for name in spec.fields)
        labels = part["place"].cast(pl.String).str.zfill(12)
        fields = share_patterns(fields, spec, labels.to_list(), padding)
        filters = encode(fields, spec, key, labels=labels.to_list(), padding_key=padding)
        encodings[str(source)] = filters.with_columns(pseudonym=labels, variant=pl.lit(0, pl.UInt8))
    return encodings


def _open(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ContractError(f"{path}: no such file", reason="not-found", hint=NO_SUCH_FILE)
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, separator="\t" if suffix == ".tsv" else ",")
    except (pl.exceptions.PolarsError, ValueError, UnicodeError):
        # The library's own words may quote the file.
        raise ContractError(
            f"{path}: cannot be read",
            reason="unreadable-file",
            hint="Parquet, or text in UTF-8 with a header: comma-separated, or tab-separated if it is called .tsv",
        ) from None


def _label(path: Path, series: pl.Series) -> pl.Series:
    text = as_text(series)
    if (text.is_null() | (text == "")).any():
        raise ContractError(
            f"{path}: rows without an entry in column {series.name}",
            reason="missing-label",
            hint="every row needs one; a person who occurs once has an entry that occurs once",
        )
    return text


def _standard(kind: IdentifierKind, series: pl.Series) -> tuple[pl.Series, int, int]:
    """Return a column in standard form, its filled cells, and those of them that have a standard form."""
    if isinstance(series.dtype, pl.List):
        rows = pl.DataFrame({"row": range(len(series)), "cell": series}).explode("cell", empty_as_null=True)
        values, filled, read = _standard(kind, rows["cell"])
        listed = rows.select("row", value=values).group_by("row", maintain_order=True).agg(pl.col("value").drop_nulls())
        return listed["value"], filled, read
    there = as_text(series).str.strip_chars().fill_null("") != ""
    values = standardise_series(kind, series)
    return values, int(there.to_numpy().sum()), values.count()
