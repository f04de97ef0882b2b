"""``linkage research analyse``: what the analyst sees in the enclave. Confidential."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import cyclopts

from linkage.cli.console import open_settings, print_json, say, working
from linkage.cli.research_estimate import AGREEMENT
from linkage.cli.research_open import open_run, permitted
from linkage.errors import EstimateError
from linkage.exchange.site import open_analysis

__all__ = ["analyse"]


def analyse(
    *,
    batches: Annotated[tuple[Path, ...], cyclopts.Parameter(name="--batches", consume_multiple=True, negative=())],
    person_map: Annotated[Path, cyclopts.Parameter(name="--map")],
    out: Path,
    denominators: Path | None = None,
    draws: int | None = None,
    resamples: int = 1000,
    quick: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    settings: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Show the analyst a verdict and all that stands beside it. CONFIDENTIAL: exact counts, for the enclave alone.

    A folder with analysis.html, which needs nothing else, and analysis.json. A refusal is a result (exit 0).

    Parameters
    ----------
    batches
        The sealed batches of the run.
    person_map
        The sealed person map of the run.
    out
        The folder to make, readable by its owner alone, outside the releases. An existing one is not touched.
    denominators
        CSV in UTF-8 of populations: columns `year`, `population`, and any strata (sex, race, age) as they are named
        here. With it everything is said per 1,000, too: over the mean of the yearly populations of the scope's years,
        of persons over the whole period and not yearly. Where people in scope have a value for which a column of the
        file has no row, as men in a file of women, nothing is said per 1,000 of all together.
    draws
        Partition draws of the linkage to use at most; by default 100, and 25 from five lists on, of which strata
        and years use 10 from six lists on.
    resamples
        Bootstrap tables for the interval of the stepwise estimate.
    quick
        Leave out what runs chains: latent classes, Bayesian thresholding, strength shared between strata.
    settings
        The site's settings file; linkage.toml by default.
    json
        Write analysis.json to stdout, too.
    """
    from linkage.research.analysis import CONFIDENTIAL, Effort
    from linkage.research.analysis import analyse as run
    from linkage.research.analysis_page import require_new, write_analysis
    from linkage.research.analysis_strata import values_of_strata
    from linkage.research.estimate import read_denominators
    from linkage.research.release import referrals

    if resamples < 100:
        hint = "give --resamples a number from 100 on, or leave it out"
        raise EstimateError("an interval needs at least 100 resamples", reason="too-few-resamples", hint=hint)
    if draws is not None and draws < 2:
        hint = "leave --draws out"
        raise EstimateError(
            "at least two draws are needed: one does not tell how draws differ", reason="bad-parameter", hint=hint
        )
    effort = Effort(resamples, draws, chains=False, pooling=None) if quick else Effort(resamples, draws)
    site = open_analysis(open_settings(settings))
    require_new(out, site.releases)
    populations = None if denominators is None else read_denominators(denominators, values_of_strata())
    inputs = open_run(site, batches, person_map)
    agreed = permitted(site, inputs)
    with working("counting persons") as now:
        analysis = run(
            inputs.facts,
            inputs.person_map,
            month=inputs.map_manifest.month,
            draws=inputs.draws,
            quality=inputs.quality,
            policy=site.policy,
            referrals=referrals(agreed),
            denominators=populations,
            effort=effort,
            progress=now,
        )
        now("drawing and writing")
        plain = write_analysis(analysis, out)
    if json:
        print_json(json_module.dumps(plain, indent=2, allow_nan=False))
    verdict = analysis.report.verdict
    if analysis.refused:
        say(f"refused ({verdict.reason}): {verdict.words}")
        say(f"remedy: {verdict.remedy}")
    else:
        say(f"estimated ({verdict.reason}): {verdict.words}")
        if verdict.reason == "families-agree":
            say(AGREEMENT)
    for alarm in analysis.alarms:
        say(f"warning: {alarm}")
    for note in analysis.notes:
        say(f"note: {note}")
    say(f"analysis written: {out}")
    say(CONFIDENTIAL)
