"""Prefect gets a home of its own before it is imported: no test touches the account's."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from linkage.hub.encoded import Encoded

_HOME = tempfile.TemporaryDirectory(prefix="prefect-home-", ignore_cleanup_errors=True)

for _name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[_name]
os.environ |= {"PREFECT_HOME": _HOME.name, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@pytest.fixture(scope="session")
def two_sources() -> Encoded:
    """Give the encodings of two sources that share half of their people."""
    import numpy as np
    import polars as pl

    from linkage.contract import load_spec
    from linkage.contract.spec import LinkageSpec
    from linkage.hub.encoded import stack

    spec = LinkageSpec.model_validate(
        {**load_spec("default").model_dump(), "bits": 512, "diffusion": {"bits": 512, "inputs": 4}}
    )
    rng = np.random.default_rng(1)
    shape = 200, len(spec.filters), 64
    one = rng.integers(0, 256, shape, dtype=np.uint8)
    other = np.concatenate(
        [one[:100] ^ (rng.random((100, *shape[1:])) < 0.1), rng.integers(0, 256, shape, dtype=np.uint8)]
    )
    frames = {
        source: pl.DataFrame(
            {
                "pseudonym": [f"{source}{place:031d}" for place in range(len(filters))],
                "variant": pl.Series([0] * len(filters), dtype=pl.UInt8),
                **{
                    entry.name: pl.Series([row.tobytes() for row in filters[:, number]], dtype=pl.Binary)
                    for number, entry in enumerate(spec.filters)
                },
            }
        )
        for source, filters in (("a", one), ("b", other.astype(np.uint8)))
    }
    return stack(frames, spec, {"a": True, "b": True})
