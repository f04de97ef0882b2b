"""``linkage demo``: the whole road on a synthetic population, in one folder."""

from __future__ import annotations

from pathlib import Path

__all__ = ["demo"]


def demo(*, out: Path = Path("demo"), seed: int = 1) -> None:
    """Draw a synthetic Milwaukee, let four agencies send their batches, link, estimate and release.

    Everything is written into one new folder: keys, settings, extracts, batches, the release, and the truth beside
    it, since the people are made up. Needs no server and no settings; takes a few minutes.

    Parameters
    ----------
    out
        The folder to make. One that holds something already is not touched.
    seed
        Seed of the population.
    """
    from flows.demo import run_demo  # Prefect comes with the hub extra only

    run_demo(out, seed)
