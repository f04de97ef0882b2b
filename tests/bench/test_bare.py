"""The bare loop counts what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np


def test_the_bare_loop_counts_common_bits() -> None:
    spec = importlib.util.spec_from_file_location("bare", Path(__file__).with_name("bare.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    left, right = np.random.default_rng(1).integers(0, 2**64, (2, 100, 16), dtype=np.uint64)
    common = np.bitwise_count(left[::4, None] & right[None, :96:32]).sum()
    assert module.bare(left, module.lay(right)) == common > 0
