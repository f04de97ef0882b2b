"""recordlinkage on plain text, in its own environment: blocks, a few string comparisons, its ECM."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import recordlinkage
from task import run_task
from truth import best, read_truth

warnings.simplefilter("ignore")
_ALIKE = 0.85


def accuracy(
    file: str, fields: dict[str, str], blocks: list[list[str]], train: list[list[str]], repeats: list[str]
) -> dict[str, Any]:
    """Link a file; its pairs are weighed by ECM, and cut where the truth would cut them."""
    del train  # ECM learns on all the pairs
    started = time.perf_counter()
    frame = pd.read_csv(file, dtype=str)
    index = recordlinkage.Index()
    for rule in blocks:
        if not any("(" in entry for entry in rule):
            index.block(list(rule))
    pairs = index.index(frame)
    source, entity, names = read_truth(file)
    left, right = pairs.get_level_values(0).to_numpy(), pairs.get_level_values(1).to_numpy()
    within = np.array([name in repeats for name in names])
    pairs = pairs[(source[left] != source[right]) | within[source[left]]]
    left, right = pairs.get_level_values(0).to_numpy(), pairs.get_level_values(1).to_numpy()
    compare = recordlinkage.Compare()
    for name, kind in fields.items():
        if kind == "code":
            compare.exact(name, name, label=name)
        else:
            method = "jarowinkler" if kind in ("name", "text") else "damerau_levenshtein"
            compare.string(name, name, method=method, threshold=_ALIKE, label=name)
    features = compare.compute(pairs, frame)
    ecm = recordlinkage.ECMClassifier()
    ecm.fit(features)
    score = ecm.prob(features).to_numpy()
    found = best(left, right, score, source, entity, within)
    return {**found, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    run_task({"accuracy": accuracy})
