"""What is measured of the estimators: stepwise, all models of five lists, resampling, graphs and latent classes.

Alone: ``python tests/bench/estimate_tasks.py [mse.json]`` prints the times on one core beside the recorded seconds of
the R packages (SparseMSE, Rcapture, MultipleSystemsEstimation, dga, LCMCR), where their file is given.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from task import pin

from linkage.research.estimate import HistoryTable, Result, Stepwise, read_histories
from linkage.research.estimate.averaging import Averaged
from linkage.research.estimate.chordal import chordal_graphs
from linkage.research.estimate.gate import exists, identifiable
from linkage.research.estimate.gibbs import Gibbs
from linkage.research.estimate.graphs import posterior
from linkage.research.estimate.models import AllModels, fit_models, hierarchical_models

# Potential victims of trafficking, UK 2013, five lists, PF and NCA merged: Silverman (2014), Home Office. Cells in the
# order of HistoryTable.
_UK = (54, 463, 15, 995, 19, 62, 1, 695, 3, 19, 1, 76, 0, 4, 1, 316, 0, 1, 0, 11, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0)
_LISTS = ("LA", "NG", "PFNCA", "GO", "GP")


def stepwise(file: str = "", repeats: int = 20) -> dict[str, Any]:
    """Measure the stepwise selection and fit of a table; median over repeats, each with empty caches."""
    table = _table(file)
    return _measured(lambda: Stepwise(resamples=0).fit(table), repeats)


def all_models(file: str = "", repeats: int = 10) -> dict[str, Any]:
    """Measure the fits of all hierarchical models of a table, gate included."""
    table = _table(file)
    models = hierarchical_models(table.t)
    found = _measured(lambda: fit_models(table.counts, table.t, models), repeats)
    return {**found, "models": len(models)}


def averaged(file: str = "", repeats: int = 10) -> dict[str, Any]:
    """Measure the average over all models with its interval and draws."""
    table = _table(file)
    return _measured(lambda: Averaged().fit(table), repeats)


def stepwise_bootstrap(file: str = "", resamples: int = 1000) -> dict[str, Any]:
    """Measure the BCa interval with the stepwise selection repeated in each resample."""
    table = _table(file)
    return {**_measured(lambda: Stepwise(resamples=resamples).fit(table), 1), "resamples": resamples}


def models_bootstrap(file: str = "", resamples: int = 1000) -> dict[str, Any]:
    """Measure the BCa interval with the choice by BIC repeated in each resample."""
    table = _table(file)
    return {**_measured(lambda: AllModels(resamples=resamples).fit(table), 1), "resamples": resamples}


def graphs(file: str = "", repeats: int = 5) -> dict[str, Any]:
    """Measure the average over all decomposable graphs at one prior, every number of people summed."""
    table = _table(file)
    chordal_graphs(table.t)
    return _measured(lambda: posterior(table, 2.0**-table.t), repeats)


def latent(file: str = "", sweeps: int = 400) -> dict[str, Any]:
    """Measure sweeps of the latent classes' chains: seconds are of one sweep of one chain."""
    chains, table = 20, _table(file)
    rng = np.random.default_rng(1)
    sampler = Gibbs(table, classes=10, shape=0.25, rate=0.25, chains=chains, rng=rng)
    for _ in range(20):
        sampler.sweep(fixed_alpha=True)

    def work() -> None:
        for _ in range(sweeps):
            sampler.sweep()

    found = _measured(work, 3)
    each = {name: found[name] / (sweeps * chains) for name in ("seconds", "cpu_seconds")}
    return {**found, **each, "chains": chains, "sweeps": sweeps}


def recorded(reference: Path, data: str = "UKdat_5") -> dict[str, float]:
    """Give the recorded seconds of the R packages on a table: 1,000 resamples, and one sweep of one chain."""
    found = json.loads(reference.read_text(encoding="utf-8"))["datasets"][data]
    chains = found["LCMCR"]
    theirs = {"latent": chains["sec_4_chains"] / (4 * chains["iters_per_chain"])}
    if data == "UKdat":  # all six lists: measured for latent classes alone
        return theirs
    bca = found["SparseMSE"]["bca"]
    return theirs | {
        "stepwise": found["SparseMSE"]["stepwise_p0.02"]["sec"],
        "all_models": found["Rcapture"]["closedpMS_t"]["sec"],
        "averaged": found["MultipleSystemsEstimation"]["bic"]["sec"],
        "stepwise_bootstrap": bca["sec"] / bca["nboot"] * 1000,
        "graphs": found["dga"]["default_delta_2powminusp"]["sec"],
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "stepwise": stepwise,
    "all_models": all_models,
    "averaged": averaged,
    "stepwise_bootstrap": stepwise_bootstrap,
    "models_bootstrap": models_bootstrap,
    "graphs": graphs,
    "latent": latent,
}


def _table(file: str) -> HistoryTable:
    """Read a table of capture histories, or take the UK's without a file."""
    return HistoryTable.from_frame(read_histories(Path(file))) if file else HistoryTable(_LISTS, np.array(_UK))


def _measured(work: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Median wall and processor seconds, and the estimate if there is one."""
    wall, cpu = [], []
    made: object = None
    for _ in range(repeats):
        identifiable.cache_clear()
        exists.cache_clear()
        started, spent = time.perf_counter(), time.process_time()
        made = work()
        cpu.append(time.process_time() - spent)
        wall.append(time.perf_counter() - started)
    found = {"seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu), "repeats": repeats}
    return {**found, "n_hat": made.n_hat} if isinstance(made, Result) else found


def main() -> None:
    """Print every task's seconds, the recorded ones, and their ratio."""
    pin(1)
    theirs = recorded(Path(sys.argv[1])) if len(sys.argv) > 1 else {}
    for name, task in TASKS.items():
        found = task()
        line = f"{name:20} {found['cpu_seconds']:9.6f} s of processor {found['seconds']:9.6f} s"
        if name in theirs:
            line += f"   R recorded {theirs[name]:8.6f} s   {theirs[name] / found['seconds']:8.1f} times"
        print(line)


if __name__ == "__main__":
    main()
