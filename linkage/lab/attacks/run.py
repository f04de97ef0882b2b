"""Try attacks on an encoding and, in the same trials, on an unprotected one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from linkage.contract.spec import LinkageSpec
from linkage.errors import ContractError
from linkage.lab.attacks.linear import diffusion_limits
from linkage.lab.attacks.people import People
from linkage.lab.attacks.rates import Rate, rate_of
from linkage.lab.attacks.registry import ATTACKS
from linkage.lab.attacks.scene import Outcome, draw_scene

__all__ = ["attack"]


def attack(
    people: People,
    spec: LinkageSpec,
    *,
    sizes: Sequence[int],
    overlaps: Sequence[float],
    seeds: int,
    names: Iterable[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Attack encodings of made-up or public people and measure how many are re-identified.

    Parameters
    ----------
    people
        Whom to draw the lists from.
    spec
        The spec under attack.
    sizes
        Records a list; several, since leakage grows with density.
    overlaps
        Shares of each list that are on both, above 0 up to 1.
    seeds
        Trials of each size and overlap: each has lists and keys of its own.
    names
        Attacks to run, all by default.
    progress
        Called with a word on what is done now.

    Returns
    -------
    dict
        ``spec``, ``spec_digest``, ``source``, ``seeds``; ``attacks``, a list of
        :class:`linkage.lab.attacks.rates.Rate` as dicts; ``worst``, that with the highest rate among those that assume
        nothing but a list, None if there is none; ``failed_controls``, and ``not_run`` for want of people or of a
        second source, lists of names; ``diffusion``, see :func:`linkage.lab.attacks.linear.diffusion_limits`, empty if
        ``names`` are given; ``seconds``.

    Raises
    ------
    ContractError
        An attack is not known, a number is out of range, or there are too few people.
    """
    chosen = _chosen(names)
    if seeds < 1 or not sizes or not overlaps or min(sizes) < 2 or not all(0 < share <= 1 for share in overlaps):
        raise ContractError(
            "sizes must be 2 or more, overlaps above 0 and up to 1, seeds 1 or more", reason="out-of-range"
        )
    possible = [name for name in chosen if not (ATTACKS[name].needs_elsewhere and people.others.is_empty())]
    say = progress or (lambda _: None)
    started = time.perf_counter()
    rates: list[Rate] = []
    for n in sizes:
        for overlap in overlaps:
            run = [name for name in possible if round(n * overlap) >= ATTACKS[name].least_common]
            found: dict[str, list[tuple[Outcome, Outcome]]] = {name: [] for name in run}
            for seed in range(seeds):
                scene = draw_scene(people.frame, people.others, spec, n=n, overlap=overlap, seed=seed)
                for name in run:
                    say(f"{n:,} records, overlap {overlap:.0%}, trial {seed + 1} of {seeds}: {name}")
                    found[name].append((ATTACKS[name].run(scene), ATTACKS[name].against(scene)))
            rates += [_rate(name, n, overlap, found[name]) for name in run]
    told = [rate.as_dict() for rate in rates]
    plain = [entry for entry in told if entry["assumes"] == "list"]
    return {
        "spec": spec.name,
        "spec_digest": spec.digest,
        "source": people.source,
        "seeds": seeds,
        "attacks": told,
        "worst": max(plain, key=lambda entry: entry["rate"], default=None),
        "failed_controls": sorted({rate.name for rate in rates if not rate.control_passed}),
        "not_run": [name for name in chosen if name not in {rate.name for rate in rates}],
        "diffusion": diffusion_limits(people.frame, spec) if names is None else [],
        "seconds": round(time.perf_counter() - started, 1),
    }


def _chosen(names: Iterable[str] | None) -> list[str]:
    wanted = list(ATTACKS) if names is None else list(dict.fromkeys(names))
    if not set(wanted) <= set(ATTACKS):
        raise ContractError(
            "an attack that was asked for does not exist",
            reason="unknown-attack",
            hint=f"there are: {', '.join(ATTACKS)}",
        )
    return wanted


def _rate(name: str, n: int, overlap: float, found: Sequence[tuple[Outcome, Outcome]]) -> Rate:
    tried = ATTACKS[name]
    outcomes, controls = zip(*found, strict=True)
    return rate_of(
        name, n, overlap, outcomes, controls, control=tried.control, least=tried.least, assumes=tried.assumes
    )
