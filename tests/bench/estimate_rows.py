"""How long the estimators take, beside what was recorded of the R packages on the same table.

R is not installed with the peers: its seconds are those of the reference file, measured once on another day. Without
the file there is no peer to show.
"""

from __future__ import annotations

from typing import Any

from estimate_tasks import recorded
from processes import Runner
from rows import Line, Sizes, median, shared

_SHOWN = (
    ("stepwise", "stepwise selection, UK 2013, five lists, no resampling", "SparseMSE", "20 ms"),
    ("all_models", "all 1,024 models of pairs, gate included", "Rcapture", "2 s"),
    ("averaged", "their average by BIC, with interval and draws", "MultipleSystemsEstimation", ""),
    ("stepwise_bootstrap", "stepwise, {resamples:,} resamples, selection repeated, BCa", "SparseMSE", "60 s"),
    ("models_bootstrap", "best by BIC, {resamples:,} resamples over its 100 best models", "", ""),
    ("graphs", "822 decomposable graphs, every number of people", "dga", "3 s"),
    ("latent", "latent classes, one sweep of one chain of 20, six lists", "LCMCR", "peer"),
)


def estimate(runner: Runner, sizes: Sizes) -> list[Line]:
    """Estimate on the published table, each method in processes of its own on one core."""
    lines = []
    for step, measured, package, target in _SHOWN:
        given, theirs = _given(step)
        if step.endswith("_bootstrap"):
            given["resamples"] = sizes.resamples
        found = runner.ours("estimates", step=step, runs=sizes.runs, **given)
        seconds, peer = median(found, "seconds"), theirs.get(step)
        lines.append(
            Line(
                measured.format(resamples=sizes.resamples),
                _time(seconds),
                "" if peer is None else f"{package} {_time(peer)}, recorded",
                "" if peer is None else f"{peer / seconds:.1f}",
                target,
                values={**found[0], "seconds": seconds, "peer_seconds": peer},
            )
        )
    return lines


def _given(step: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Give a task's table and the recorded seconds on it: all six lists for latent classes, as the aim has it."""
    home = shared()
    if home is None:
        return {}, {}
    reference = home / "reference" / "mse.json"
    if step != "latent":
        return {}, recorded(reference)
    return {"file": str(home / "data" / "mse" / "UKdat.csv")}, recorded(reference, "UKdat")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
