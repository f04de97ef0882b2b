"""The register of releases: which ones were made, so that none is forgotten when the next is protected against them.

A ledger (:mod:`linkage.exchange.ledger`) in the state folder of the analysis, one entry a release. The folders alone
do not tell: one that was moved away or written elsewhere would no longer count. A ledger that is gone altogether is
begun anew from the folders that are there; keep a copy of it, as of the rest of the state folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from linkage.errors import ReleaseError
from linkage.exchange import Party, ledger
from linkage.exchange.site import AnalysisSite, current_day
from linkage.research import bundle
from linkage.research.inputs import Inputs
from linkage.research.release import ReleaseSummary, earlier_releases, release
from linkage.research.verify import read_release, verify_release

__all__ = ["LEDGER", "RELEASE", "earlier_folders", "make_release", "register", "require_inside"]

LEDGER = "releases.ledger"
"""Name of the register in the state folder."""

RELEASE = "release"
"""The action in the ledger."""


def make_release(site: AnalysisSite, inputs: Inputs, out: Path) -> ReleaseSummary:
    """Make the release of a run, protected against all earlier ones of the site, and register it.

    Raises
    ------
    NotPermittedError, ReleaseError, EstimateError, SealError
        As :func:`require_inside`, :func:`earlier_folders` and :func:`linkage.research.release.release`.
    """
    require_inside(out, site.releases)
    summary = release(
        inputs.facts,
        inputs.person_map,
        month=inputs.map_manifest.month,
        quality=inputs.quality,
        draws=inputs.draws,
        policy=site.policy,
        agreements=list(site.agreements.values()),
        manifests=inputs.manifests,
        party=site.party,
        out=out,
        previous=earlier_folders(site.state, site.releases, project=site.policy.project, party=site.party),
        today=current_day(),
    )
    register(site.state, summary.folder, site.party)
    return summary


def require_inside(out: Path, releases: Path) -> None:
    """Refuse a folder that is not directly among the releases of the site, where the next run looks for it.

    Raises
    ------
    ReleaseError
        ``outside-releases``.
    """
    if out.name.startswith(".") or out.parent.resolve() != releases.resolve():
        raise ReleaseError(
            f"{out}: not a folder directly among the releases of the site",
            reason="outside-releases",
            hint=f"write it to {releases}, then copy it: the next release is protected against those that lie there",
        )


def earlier_folders(state: Path, releases: Path, *, project: str, party: Party) -> list[Path]:
    """Return all earlier releases, after checking that every registered one is still there and the same.

    A release of the project that lies there, is signed by the analysis and not registered was made by a run that was
    interrupted before it could register it: that is done now.

    Parameters
    ----------
    state, releases
        The state folder of the analysis and the folder of its releases.
    project, party
        Whose releases these are, and who signed them.

    Returns
    -------
    list of Path
        The registered ones and any other release of the project that lies there, by name.

    Raises
    ------
    SealError
        ``ledger-broken``: the register was changed.
    ReleaseError
        ``earlier-release-missing``: a registered release is not there or is another one; ``malformed``.
    """
    path = state / LEDGER
    made = [entry for entry in ledger.entries(path) if entry.action == RELEASE] if path.exists() else []
    registered = {releases / str(entry.extra["folder"]): entry.object for entry in made}
    missing = [folder.name for folder, digest in registered.items() if _digest(folder) != digest]
    if missing:
        raise ReleaseError(
            f"{releases}: a release that was made is no longer here as it was",
            reason="earlier-release-missing",
            hint="put it back under its name: what was published before decides what may be published now",
            problems=[f"{name}: missing or changed" for name in missing],
        )
    found = earlier_releases(releases, project)
    for folder in found:
        if folder not in registered and verify_release(folder, party.public, audit_tables=False).ok:
            register(state, folder, party)
    return sorted({*registered, *found})


def register(state: Path, folder: Path, party: Party) -> None:
    """Add a release, which is in its place, to the register.

    Raises
    ------
    ReleaseError
        ``malformed`` where there is no release.
    SealError
        ``ledger-broken`` or ``malformed``: the register takes no entry.
    """
    month, digest = read_release(folder).month, _digest(folder)
    if digest is None:
        raise ReleaseError(f"{folder}: no manifest that can be read", reason="malformed")
    extra: dict[str, str | bool | int | None] = {"folder": folder.name, "month": month}
    ledger.append(state / LEDGER, actor=party.name, action=RELEASE, object_digest=digest, extra=extra)


def _digest(folder: Path) -> str | None:
    try:
        return hashlib.sha256((folder / bundle.MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None
