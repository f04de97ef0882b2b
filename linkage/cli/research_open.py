"""What the commands of the analysis open: the files of a run, and whether they may be used today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linkage.contract.agreement import Agreement
from linkage.exchange.site import AnalysisSite, current_day

if TYPE_CHECKING:  # SciPy comes with the research extra only; an agency's install has none
    from linkage.research.inputs import Inputs

__all__ = ["open_run", "permitted"]


def open_run(site: AnalysisSite, batches: Sequence[Path], person_map: Path) -> Inputs:
    """Open sealed batches and person map with the keys of the site.

    Raises
    ------
    LinkageError
        As :func:`linkage.research.inputs.open_inputs`.
    """
    from linkage.research.inputs import open_inputs

    return open_inputs(batches, person_map, party=site.party, senders=site.senders, hub=site.hub)


def permitted(site: AnalysisSite, inputs: Inputs) -> dict[str, Agreement]:
    """Return source -> agreement, if the facts may be used today.

    Raises
    ------
    NotPermittedError
        As :func:`linkage.research.release.check_permitted`.
    """
    from linkage.research.release import check_permitted

    return check_permitted(inputs.facts, site.policy, list(site.agreements.values()), inputs.manifests, current_day())
