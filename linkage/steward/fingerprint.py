"""The fingerprint of a batch: how parties see that they share key, spec, rules and code without showing any of them.

A panel of made-up people with everything that rules differ on (accents, nicknames, swapped dates, gaps) is
standardised and encoded like an agency's own file. Only a keyed digest of the result leaves the agency: the encodings
themselves would hand the hub known plaintexts.
"""

from __future__ import annotations

import hashlib
import hmac

import polars as pl

from linkage.contract.spec import LinkageSpec
from linkage.contract.vocabulary import IDENTIFIER_KINDS
from linkage.steward.encode import KeySource, encode
from linkage.steward.standardise import rules_digest, standardise_identifier, standardise_series

__all__ = ["fingerprint"]

_PANEL: dict[str, list[str | None]] = {
    "name": ["Bob", "José María", "O'Brien-Łuczak", "MÜLLER, JR.", "Nguyễn", "De La Cruz", "Ann Marie", None, "Straße"],
    "text": ["1200 North Water Street Apt 4", "w. wells st.", "P.O. Box 12", "27th & Center", None, "3 Rue d'Été"],
    "date": ["1999-03-12", "19991203", "2001", "1998-07", "1900-01-01", None, "2000-02-30"],
    "digits": ["(414) 555-0142", "000-00-0000", "53212-1234", "1 414 286 0000", None, "6789"],
    "code": ["F", "female", "jr", "WI 12-345 a", "X", None, "unknown"],
}  # fmt: skip
"""Raw entries by kind. Test data: made up, and free of any real person."""


def fingerprint(spec: LinkageSpec, key: KeySource) -> str:
    """Return the fingerprint of spec, rules, code and linkage key: HMAC-SHA-256, 64 hex characters.

    Two agencies with the same fingerprint encode alike. It says nothing about any of the four.
    """
    length = max(len(entries) for entries in _PANEL.values())
    columns: dict[str, pl.Series] = {}
    # In alphabetical order, for the order of a mapping's keys says nothing and is not in the spec's digest either.
    for number, (name, entry) in enumerate(sorted(spec.fields.items())):
        raw = _PANEL[entry.kind]
        # Every field starts elsewhere in its list, so that the panel's people differ in what they lack.
        column = pl.Series(name, [raw[(number + row) % len(raw)] for row in range(2 * length)], dtype=pl.String)
        known = IDENTIFIER_KINDS.get(name) == entry.kind
        columns[name] = standardise_identifier(name, column) if known else standardise_series(entry.kind, column)
    labels = [str(row) for row in range(2 * length)]
    panel = encode(pl.DataFrame(columns), spec, key, labels=labels, padding_key=b"the panel's own padding: no secret")
    secret = key.derive(spec_digest=spec.digest, purpose="fingerprint")
    digest = hmac.new(secret, digestmod=hashlib.sha256)
    digest.update(b"linkage fingerprint 1\0" + rules_digest().encode() + b"\0")
    for name in panel.columns:
        values = panel[name].to_list()
        digest.update(b"".join(v if isinstance(v, bytes) else v.to_bytes(2, "little") for v in values))
    return digest.hexdigest()
