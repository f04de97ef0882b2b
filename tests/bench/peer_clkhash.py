"""clkhash, in its own environment: encode a file into 1024-bit CLKs, one process, and time it."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict
from task import run_task

_SECRET = "a secret of the benchmark"
_SALT = "YmVuY2htYXJr"
_BITS = 600
"""Bits set by all features together: fills four in ten of 1024, about where clkhash's tutorials come to lie."""
# As in those tutorials: names and the birth date weigh double; bigrams for text, placed characters for codes.
_WEIGHTS = {"name": 2, "date": 2, "text": 1, "digits": 1, "code": 1}


def encode(file: str, fields: dict[str, str], out: str = "") -> dict[str, Any]:
    """Encode all records; ``cpu_seconds`` cover the encoding alone, data in memory."""
    with Path(file).open(encoding="utf-8", newline="") as stream:
        rows = [[row[name] for name in fields] for row in csv.DictReader(stream)]
    schema = from_json_dict(_schema(fields))
    wall, cpu = time.perf_counter(), time.process_time()
    filters = generate_clks(rows, schema, _SECRET, max_workers=1)
    found = {"cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - wall, "records": len(rows)}
    if out:
        Path(out).write_bytes(b"".join(entry.tobytes() for entry in filters))
    return {**found, "rate": len(rows) / found["cpu_seconds"]}


def _schema(fields: dict[str, str]) -> dict[str, Any]:
    features = []
    unit = _BITS / sum(_WEIGHTS[kind] for kind in fields.values())
    for name, kind in fields.items():
        grams = {"n": 2} if kind in ("name", "text") else {"n": 1, "positional": True}
        hashing = {
            "comparison": {"type": "ngram", **grams},
            "strategy": {"bitsPerFeature": round(unit * _WEIGHTS[kind])},
        }
        written = {"type": "string", "encoding": "utf-8"}
        features.append({"identifier": name, "format": written, "hashing": hashing})
    kdf = {"type": "HKDF", "hash": "SHA256", "salt": _SALT, "info": "", "keySize": 64}
    return {"version": 3, "clkConfig": {"l": 1024, "kdf": kdf}, "features": features}


if __name__ == "__main__":
    run_task({"encode": encode})
