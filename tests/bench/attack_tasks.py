"""What is measured of the attacks: one run of the graph attack, and its matching beside scipy's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import quadratic_assignment

from linkage.contract import load_spec
from linkage.lab.attacks import read_people
from linkage.lab.attacks.graph import channels, graph, match
from linkage.lab.attacks.matching import soft
from linkage.lab.attacks.profile import node_evidence
from linkage.lab.attacks.scene import Scene, draw_scene

Made = TypeVar("Made")


def attack_graph(file: str, spec: str, records: int) -> dict[str, Any]:
    """Attack a spec, same people on both lists; then match the graphs of the undiffused CLK, ours and FAQ the same.

    FAQ (Vogelstein et al. 2015) sees the similarities alone, from its own start; ours begins with single records.
    """
    chosen = load_spec(spec)
    people = read_people(Path(file), chosen, entity_column="entity", source_column="source")
    scene = draw_scene(people.frame, people.others, chosen, n=records, overlap=1.0, seed=0)
    whole, outcome = _timed(lambda: graph(scene))
    plain = scene.unprotected("clk")
    (channel,) = channels(plain)
    counted, spread = node_evidence(plain)
    start = soft(counted + spread, 3.0)
    ours, assigned = _timed(lambda: match([channel], counted, start))
    faq, found = _timed(lambda: _faq(channel.own, channel.seen))
    return {
        "records": records,
        "seconds": whole,
        "rate": outcome.hits / outcome.tries,
        "match_seconds": ours,
        "match_rate": _rate(plain, assigned),
        "faq_seconds": faq,
        "faq_rate": _rate(plain, found),
    }


def _timed(work: Callable[[], Made]) -> tuple[float, Made]:
    started = time.perf_counter()
    made = work()
    return time.perf_counter() - started, made


def _faq(own: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.int64]:
    result = quadratic_assignment(own, seen, options={"maximize": True, "rng": np.random.default_rng(1)})
    return np.asarray(result.col_ind, np.int64)


def _rate(scene: Scene, assigned: NDArray[np.int64]) -> float:
    outcome = scene.score(assigned)
    return outcome.hits / outcome.tries
