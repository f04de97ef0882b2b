"""Facts about contacts: all that is sent beside the encodings, and no more than the agreement allows."""

from __future__ import annotations

import polars as pl

from linkage.contract.agreement import Agreement
from linkage.contract.source import SourceSchema
from linkage.contract.vocabulary import FACT_MARKS, FACT_SCHEMA
from linkage.errors import NotPermittedError

__all__ = ["facts"]


def facts(tiered: pl.DataFrame, schema: SourceSchema, agreement: Agreement) -> pl.DataFrame:
    """Return the facts of every contact that counts.

    Parameters
    ----------
    tiered
        Checked rows with ``age`` and ``tier`` (:func:`linkage.steward.tiers.add_tiers`, which has already taken the
        tier from persons without a live release).
    schema
        The source's schema.
    agreement
        Says which facts may be sent; all others are null.

    Returns
    -------
    pl.DataFrame
        The columns of ``FACT_SCHEMA`` with ``local_id`` in place of ``pseudonym``; one row a contact, ``decoy`` false
        and ``test_person`` null.
        There is no birth date and no day. Contacts of a person that are alike in all of it are one row. Sorted by
        ``local_id`` and month.

    Raises
    ------
    NotPermittedError
        The agreement is of mode ``aggregate``: no record may be sent.
    """
    if agreement.mode == "aggregate":
        raise NotPermittedError(
            f"the agreement of source {agreement.source} allows counts only, no records",
            reason="aggregate-only",
            hint="federal law forbids to disclose records of funded victim services, also encoded ones",
        )
    counted = tiered.filter(pl.col("tier").is_not_null())
    known = {
        "month": pl.col("event_date").dt.strftime("%Y-%m"),
        "age": pl.col("age"),
        "tier": pl.col("tier"),
        **{name: pl.col(f"fact.{name}") for name in schema.facts},
        **{name: pl.col(f"flag.{name}") for name in schema.flags},
    }
    columns = [pl.col("local_id")]
    for name, dtype in FACT_SCHEMA.items():
        if name in FACT_MARKS:
            continue
        allowed = name in agreement.facts and name in known
        columns.append((known[name] if allowed else pl.lit(None)).cast(dtype).alias(name))
    marks = (pl.lit(False).alias("decoy"), pl.lit(None, dtype=pl.String).alias("test_person"))
    result = counted.select(*columns, *marks).unique()
    return result.sort("local_id", "month", *(name for name in result.columns if name not in ("local_id", "month")))
