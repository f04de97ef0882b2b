"""``linkage keys opening``: the key that the hub's batches are sealed for, in shares that no one alone can use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts

from linkage.cli.console import say, spaced
from linkage.exchange.approval.shared import create_opening
from linkage.exchange.keys import load_public

__all__ = ["opening"]


def opening(
    *holders: Path,
    project: Annotated[str, cyclopts.Parameter(name="--project")],
    epoch: Annotated[str, cyclopts.Parameter(name="--epoch")],
    threshold: Annotated[int, cyclopts.Parameter(name="--threshold")],
    out: Annotated[Path, cyclopts.Parameter(name="--out")] = Path("keys/opening.pub"),
) -> None:
    """Make the hub's opening key in shares: one public file, for the agencies, the holders and the hub.

    Run it once an epoch on a machine on which no batch is, not at the hub. The key itself is never written: it is
    split, each share is sealed for its holder, and what is left is forgotten. From then on only runs that THRESHOLD
    of the holders approve can open what agencies send.

    Parameters
    ----------
    holders
        Public key files of those who shall hold a share, such as the agencies' stewards; never the hub's.
    project, epoch
        What it is for, as in the linkage key.
    threshold
        How many of the holders must approve a run; at least 2.
    out
        The file to write. An existing one is never overwritten.
    """
    made = create_opening(out, project, epoch, [load_public(path) for path in holders], threshold)
    names = ", ".join(holder.name for holder in made.holders)
    say(f"opening key written: {out}")
    say(f"a run is opened by the approval of {made.threshold} of: {names}")
    say(f"key id, for all of them, the agencies and the hub to compare by voice: {spaced(made.key_id)}")
    say("nothing in the file is secret; each share opens with its holder's party key alone")
