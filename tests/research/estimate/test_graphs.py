"""Decomposable graphs: enumeration, agreement with the dga package, and a plain twin of the posterior."""

from __future__ import annotations

import json
from itertools import combinations
from math import lgamma, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linkage.errors import EstimateError
from linkage.research.estimate import HistoryTable
from linkage.research.estimate.chordal import chordal_graphs
from linkage.research.estimate.families import families
from linkage.research.estimate.graphs import DecomposableGraphs, posterior

MANY_GRAPHS = ("UKdat_5", "UKdat_4", "NewOrl_5", "Kosovo", "Artificial_3", "Korea", "HIV", "lesbian", "MadiganYork3")


def plain_factors(edges: set[frozenset[int]], t: int) -> tuple[list[int], list[int]] | None:
    """Sets in the numerator and denominator, by taking away vertices whose neighbours are all joined; None if stuck."""
    left, above, below = set(range(t)), [], []
    while left:
        for v in sorted(left):
            near = [u for u in left if frozenset((u, v)) in edges]
            if all(frozenset(pair) in edges for pair in combinations(near, 2)):
                break
        else:
            return None
        above.append(sum(1 << u for u in near) | 1 << v)
        below.append(sum(1 << u for u in near))
        left.remove(v)
    return above, below


def plain_graphs(t: int, joined: tuple[tuple[int, int], ...] = ()) -> list[tuple[list[int], list[int]]]:
    every = [frozenset(pair) for pair in combinations(range(t), 2)]
    subsets = ({e for i, e in enumerate(every) if code >> i & 1} for code in range(2 ** len(every)))
    held = (edges for edges in subsets if {frozenset(pair) for pair in joined} <= edges)
    return [found for edges in held if (found := plain_factors(edges, t)) is not None]


def plain_margin(table: HistoryTable, lists: int, n0: int, delta: float) -> float:
    """M(A) term by term."""
    t, n = table.t, table.observed
    alpha = delta * 2 ** (t - lists.bit_count())
    value = lgamma(2**t * delta) - lgamma(n + n0 + 2**t * delta)
    for cell in {c & lists for c in range(2**t)}:
        count = sum(int(table.counts[c - 1]) for c in range(1, 2**t) if c & lists == cell) + (n0 if cell == 0 else 0)
        value += lgamma(count + alpha) - lgamma(alpha)
    return value


def plain_posterior(
    table: HistoryTable, delta: float, most: int, joined: tuple[tuple[int, int], ...] = ()
) -> np.ndarray:
    """Posterior of n0 = 1, ..., most by the formula, graph by graph."""
    graphs = plain_graphs(table.t, joined)
    logs = []
    for n0 in range(1, most + 1):
        total = table.observed + n0
        margins = {a: plain_margin(table, a, n0, delta) if a else 0.0 for a in range(2**table.t)}
        shared = lgamma(total + 1) - lgamma(n0 + 1) - log(total)
        logs.append([shared + sum(margins[a] for a in up) - sum(margins[a] for a in down) for up, down in graphs])
    weights = np.exp(np.array(logs) - np.max(logs)).sum(axis=1)
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize(("t", "graphs"), [(1, 1), (2, 2), (3, 8), (4, 61), (5, 822), (6, 18154)])
def test_as_many_decomposable_graphs_as_are_known(t: int, graphs: int) -> None:
    found = chordal_graphs(t)
    assert found.coefficients.shape == (graphs, 2**t)
    assert len({row.tobytes() for row in found.coefficients}) == graphs
    assert found.cliques(found.complete) == (2**t - 1,)


@pytest.mark.parametrize("t", [3, 4])
def test_the_search_finds_the_graphs_that_elimination_finds(t: int) -> None:
    def row(up: list[int], down: list[int]) -> tuple[int, ...]:
        return tuple(up.count(s) - down.count(s) for s in range(1, 2**t))

    plain = {row(up, down) for up, down in plain_graphs(t)}
    assert {tuple(int(c) for c in r[1:]) for r in chordal_graphs(t).coefficients} == plain


def test_more_than_six_vertices_are_not_enumerated() -> None:
    with pytest.raises(ValueError, match="six"):
        chordal_graphs(7)
    with pytest.raises(ValueError, match="pairs"):
        chordal_graphs(3, (0b111,))


@pytest.mark.parametrize("t", [3, 4, 5])
def test_cliques_and_separators_are_those_of_dga(shared: Path, t: int) -> None:
    def members(nested: Any) -> int:
        if isinstance(nested, int):
            return 1 << (nested - 1)
        return sum(members(part) for part in nested if not isinstance(part, str))

    stored = json.loads((shared / "data" / "mse" / f"dga_graphs{t}.json").read_text(encoding="utf-8"))
    theirs = set()
    for graph in stored:
        cliques = tuple(sorted(members(c) for c in graph["cliques"]))
        # The complete graph is stored by a name and not by its clique.
        cliques = (2**t - 1,) if cliques == (0,) else cliques
        theirs.add((cliques, tuple(sorted(s for c in graph["separators"] if (s := members(c))))))
    graphs = chordal_graphs(t)
    assert {(graphs.cliques(g), graphs.separators(g)) for g in range(len(graphs.coefficients))} == theirs


@pytest.mark.parametrize("delta", [0.125, 0.7])
def test_posterior_is_the_formula_term_by_term(delta: float) -> None:
    table = HistoryTable(("a", "b", "c"), np.array([5, 5, 54, 41, 6, 0, 12]))
    found = posterior(table, delta, grid=np.arange(1, 201))
    assert np.allclose(found.mass, plain_posterior(table, delta, 200), rtol=1e-9)


@pytest.mark.parametrize("joined", [((1, 2),), ((0, 2), (1, 2))])
def test_with_referrals_it_is_the_formula_over_the_graphs_that_join_them(joined: tuple[tuple[int, int], ...]) -> None:
    table = HistoryTable(("a", "b", "c"), np.array([5, 5, 54, 41, 6, 0, 12]))
    terms = tuple(1 << i | 1 << j for i, j in joined)
    found = posterior(table, 0.125, grid=np.arange(1, 201), joined=terms)
    assert np.allclose(found.mass, plain_posterior(table, 0.125, 200, joined), rtol=1e-9)
    assert not np.allclose(found.mass, plain_posterior(table, 0.125, 200), rtol=0.01)


@pytest.mark.parametrize("joined", [((0, 1),), ((0, 1), (2, 3)), ((0, 1), (1, 2), (2, 3), (0, 3))])
def test_only_graphs_that_join_every_referral_take_part(joined: tuple[tuple[int, int], ...]) -> None:
    graphs = chordal_graphs(4, tuple(1 << i | 1 << j for i, j in joined))
    assert len(graphs.coefficients) == len(plain_graphs(4, joined)) < 61
    for graph in range(len(graphs.coefficients)):
        assert all(any(c >> i & c >> j & 1 for c in graphs.cliques(graph)) for i, j in joined)
    assert graphs.cliques(graphs.complete) == (15,)


def test_a_known_referral_is_in_every_graph_of_an_estimate(kosovo: HistoryTable) -> None:
    pair = ("ABA", "HRW")  # joined in hardly any graph that counts, where it is not known
    plain, known = DecomposableGraphs().fit(kosovo), DecomposableGraphs(referrals=(pair,)).fit(kosovo)
    assert known.ok
    assert known.details["graphs"] == len(plain_graphs(4, ((1, 3),)))
    assert 0b1010 in known.terms and 0b1010 not in plain.terms
    assert (known.n_hat, known.lower, known.upper) != (plain.n_hat, plain.lower, plain.upper)
    family = families((pair,), 100, None)["decomposable-graphs"](kosovo)
    assert family.to_dict() == known.to_dict()
    with pytest.raises(EstimateError):
        DecomposableGraphs(referrals=(("ABA", "nobody"),)).fit(kosovo)


def test_referrals_that_leave_the_complete_graph_alone_are_refused() -> None:
    table = HistoryTable(("a", "b", "c"), np.array([60, 50, 20, 40, 15, 12, 8]))
    result = DecomposableGraphs(referrals=(("a", "b"), ("b", "c"), ("a", "c"))).fit(table)
    assert result.status == "model-not-estimable" and result.n_hat is None
    assert DecomposableGraphs(referrals=(("a", "b"), ("b", "c"))).fit(table).ok


@pytest.mark.parametrize("name", MANY_GRAPHS)
@pytest.mark.parametrize("setting", ["default_delta_2powminusp", "delta_0.5", "delta_1"])
def test_numbers_of_dga_to_six_digits(
    reference: dict[str, Any], tables: dict[str, HistoryTable], name: str, setting: str
) -> None:
    target, table = reference[name]["dga"][setting], tables[name]
    grid = np.arange(target["Nmissing_min"], target["Nmissing_max"] + 1)
    found = posterior(table, target["delta"], grid=grid)
    assert found.quantiles([0.025, 0.1, 0.5, 0.9, 0.975]).tolist() == [
        target[key] for key in ("q025", "q10", "median", "q90", "q975")
    ]
    assert found.mean == pytest.approx(target["mean"], rel=1e-7)
    assert found.graphs[chordal_graphs(table.t).complete] == pytest.approx(target["saturated_post"], rel=1e-6)
    posts = sorted((p for p in found.graphs if p > 1e-7), reverse=True)
    for ours, theirs in zip(posts, target["top_models"], strict=False):
        assert ours == pytest.approx(theirs["post"], rel=1e-6)
    best = int(found.graphs.argmax())
    assert found.graph_means[best] == pytest.approx(target["top_models"][0]["mean_N"], rel=1e-7)


def test_cells_give_what_every_whole_number_gives(kosovo: HistoryTable) -> None:
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]
    cells = posterior(kosovo, 2.0**-4)
    every = posterior(kosovo, 2.0**-4, grid=np.arange(1, 200_000))
    assert cells.mass.size < 10_000
    assert np.abs(cells.quantiles(levels) - every.quantiles(levels)).max() <= 1
    assert cells.mean == pytest.approx(every.mean, rel=1e-5)


def test_kosovo_needs_no_grid(kosovo: HistoryTable) -> None:
    # dga 2.0.2 with delta 2^-4 and n0 up to 12 n: 12,595 (9,827 to 16,544).
    result = DecomposableGraphs().fit(kosovo)
    assert result.ok
    assert (result.n_hat, result.lower, result.upper) == (12_595, 9_827, 16_544)
    assert "EXH:ABA:OSCE" in result.model
    assert result.terms == (0b0011, 0b0101, 0b0110, 0b0111, 0b1001, 0b1100, 0b1101)
    assert result.draws is not None
    assert np.quantile(result.draws, 0.5) == pytest.approx(12_595, rel=1e-3)


def test_a_far_second_mode_is_in_the_grid(tables: dict[str, HistoryTable]) -> None:
    # On n0 < 12 n the upper end of the Dutch table is cut off.
    result = DecomposableGraphs().fit(tables["Ned_modslavmse"])
    assert result.ok
    assert result.n_hat is not None
    assert result.n_hat > 12 * tables["Ned_modslavmse"].observed
    assert result.details["graphs"] == 18_154


def test_a_larger_delta_is_shown_to_shrink_the_answer(uk: HistoryTable) -> None:
    details = DecomposableGraphs().fit(uk).details
    medians = [details[f"median_at_delta_{d:g}"] for d in (2**-5, 2**-4, 2**-3)]
    assert medians == sorted(medians, reverse=True)
    assert details["warning"] is None
    high = DecomposableGraphs(delta=0.5).fit(uk)
    assert high.details["complete_graph"] == pytest.approx(0.995, abs=0.001)
    assert high.details["warning"]
    assert high.n_hat == pytest.approx(2793, abs=1)


def test_mass_at_the_edge_of_a_grid_is_a_refusal(kosovo: HistoryTable) -> None:
    result = DecomposableGraphs(grid=range(1, 8_000)).fit(kosovo)
    assert result.status == "grid-edge"
    assert result.n_hat is None


def test_tables_it_does_not_take() -> None:
    two = HistoryTable(("a", "b"), np.array([30, 20, 10]))
    twelve = HistoryTable(tuple("abcdefghijkl"), np.full(4095, 1))
    apart = HistoryTable(("a", "b", "c"), np.array([30, 20, 0, 10, 0, 0, 0]))
    nobody = HistoryTable(("a", "b", "c"), np.zeros(7, dtype=int))
    huge = HistoryTable(("a", "b", "c"), np.full(7, 10**10))
    statuses = [DecomposableGraphs().fit(table).status for table in (two, twelve, apart, nobody, huge)]
    assert statuses == ["too-few-lists", "too-many-lists", "too-little-overlap", "too-few-lists", "beyond-precision"]


def test_counts_above_two_to_the_31() -> None:
    table = HistoryTable(("a", "b", "c"), np.array([40, 30, 10, 20, 8, 6, 3]) * 5 * 10**7)
    assert table.observed > 2**31
    result = DecomposableGraphs().fit(table)
    assert result.ok
    assert result.lower is not None
    assert result.lower >= table.observed


@pytest.mark.parametrize("bad", [{"delta": 0.0}, {"delta": float("nan")}, {"grid": (3, 2, 1)}, {"grid": (0, 1, 2)}])
def test_bad_parameters(kosovo: HistoryTable, bad: dict[str, Any]) -> None:
    with pytest.raises(EstimateError):
        DecomposableGraphs(**bad).fit(kosovo)


def test_one_table_one_answer(kosovo: HistoryTable) -> None:
    first, second = DecomposableGraphs().fit(kosovo), DecomposableGraphs().fit(kosovo)
    assert first.draws is not None
    assert second.draws is not None
    assert (first.draws == second.draws).all()
