"""Published tables, as figures: these run without any other file."""

from __future__ import annotations

import numpy as np
import pytest

from linkage.research.estimate import Chao, Fit, Independence, LogLinear, Stepwise, estimate, fit_model
from linkage.research.estimate.lattice import terms_from_names


def close(value: float, target: float, relative: float = 1e-4) -> bool:
    return bool(np.isclose(value, target, rtol=relative, atol=0))


def test_kosovo_best_hierarchical_model_is_the_published_figure(kosovo):
    # Ball et al. (2002): 10,356 (9,002 - 12,122).
    model = (("EXH", "ABA", "OSCE"), ("EXH", "ABA"), ("EXH", "OSCE"), ("ABA", "OSCE"), ("EXH", "HRW"), ("OSCE", "HRW"))
    result = LogLinear(model).fit(kosovo)
    assert close(result.n_hat, 10_356.5, 1e-5)
    assert close(result.lower, 8_994.26, 1e-4)
    assert close(result.upper, 12_110.4, 1e-4)
    assert close(result.details["profile_maximum"], 10_334.5, 1e-4)


def test_kosovo_pairwise_selection(kosovo):
    result = Stepwise(resamples=0).fit(kosovo)
    assert close(result.n_hat, 14_341.66, 1e-6)
    assert result.model == "ABA:OSCE, OSCE:HRW, EXH:OSCE, EXH:ABA, EXH:HRW"
    assert result.terms == terms_from_names([pair.split(":") for pair in result.model.split(", ")], kosovo.lists)


def test_uk_2013(uk):
    assert uk.observed == 2744
    assert close(Independence().fit(uk).n_hat, 13_444.13, 1e-6)
    stepwise = Stepwise(resamples=0).fit(uk)
    assert close(stepwise.n_hat, 11_312.99, 1e-6)
    assert stepwise.model == "LA:NG, NG:GP, PFNCA:GP, LA:PFNCA, GO:GP, NG:GO"
    assert close(Chao().fit(uk).n_hat, 17_616.73, 1e-6)


def test_uk_2013_verdict_covers_every_family(uk):
    report = estimate(uk)
    assert report.verdict.status == "estimated"
    results = {result.method: result for result in report.results}
    for family in ("chao", "chao-few-lists", "independence", "stepwise"):
        assert report.verdict.low <= results[family].lower
        assert report.verdict.high >= results[family].upper
    # The published range is 10,000 to 13,000.
    assert report.verdict.low < 10_000
    assert report.verdict.high > 13_000


def test_kosovo_families_differ_so_only_the_range_is_given(kosovo):
    verdict = estimate(kosovo).verdict
    assert verdict.reason == "families-differ"
    assert verdict.low < 7_400
    assert verdict.high > 14_342


def test_counts_beyond_32_bits(kosovo):
    factor = 10**7
    table = type(kosovo)(kosovo.lists, kosovo.counts * factor)
    assert table.counts.max() > 2**31
    result = Independence().fit(table)
    assert close(result.n_hat / factor, 7_394.58666, 1e-8)
    assert close(estimate(table, resamples=100).pairs[0].chapman / factor, 1910 * 1528 / 403, 1e-6)


@pytest.mark.parametrize("terms", [(0b111,), (0b0011, 0b0101, 0b0111), (1,), (0b1111,), (0b110000,)])
def test_models_that_are_not_hierarchical_are_refused(kosovo, terms):
    with pytest.raises(Exception, match=r"hierarchical|interaction"):
        fit_model(kosovo, terms)


def test_fitted_counts_match_the_margins_of_the_model(kosovo):
    terms = terms_from_names([("EXH", "ABA"), ("OSCE", "HRW")], kosovo.lists)
    fit = fit_model(kosovo, terms)
    assert isinstance(fit, Fit)
    cells = np.arange(1, 16)
    for term in (1, 2, 4, 8, *terms):
        held = (cells & term) == term
        assert close(fit.mu[held].sum(), kosovo.counts[held].sum(), 1e-9)


def test_referral_pairs_are_in_every_model(kosovo):
    referral = (("ABA", "HRW"),)
    for estimator in (Independence(referral), Stepwise(referrals=referral, resamples=0)):
        result = estimator.fit(kosovo)
        assert terms_from_names(referral, kosovo.lists)[0] in result.terms
    report = estimate(kosovo, referrals=referral, resamples=100)
    assert all("ABA:HRW" in r.model for r in report.results if r.method in ("independence", "stepwise"))


def test_same_table_same_answer_and_seed_matters(kosovo):
    first, again = (Stepwise(resamples=100).fit(kosovo) for _ in range(2))
    other = Stepwise(resamples=100, seed=7).fit(kosovo)
    assert (first.lower, first.upper) == (again.lower, again.upper)
    assert (first.lower, first.upper) != (other.lower, other.upper)


def test_interval_with_selection_is_wider_than_without(uk):
    result = Stepwise(resamples=500, seed=1).fit(uk)
    fit = fit_model(uk, result.terms)
    low, high = fit.wald()
    assert result.upper - result.lower > high - low
