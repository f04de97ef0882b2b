"""Take a bridge file in: the register's records of an agency get their new pseudonyms, and keep their ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from linkage.errors import SealError
from linkage.exchange import Party, PublicParty, file_digest
from linkage.exchange.bridge import BridgeManifest, open_bridge, read_bridge_manifest
from linkage.hub.intake import INTAKE_REASONS
from linkage.hub.register import take_bridge
from linkage.hub.state import StateFolder

__all__ = ["take_in_bridge"]


def take_in_bridge(
    path: Path, *, folder: StateFolder, hub: Party, senders: Mapping[str, PublicParty], project: str, epoch: str
) -> tuple[BridgeManifest, int]:
    """Judge a bridge file like a batch, then rename in the register. The file stays where it is: destroy it.

    The same file again renames nobody.

    Parameters
    ----------
    path
        The file.
    folder, hub
        The state folder, and who opens the file.
    senders
        Source -> the key that signs for it now: the new one.
    project, epoch
        Of the settings.

    Returns
    -------
    manifest, renamed
        What the file says of itself, and how many records have new pseudonyms now.

    Raises
    ------
    SealError
        ``unknown-source``, ``wrong-project``, ``wrong-epoch``, or one of :data:`linkage.exchange.reasons.REASONS`.
    LinkError
        ``already-known``, see :func:`linkage.hub.registry.rename`; ``busy``.
    """
    source = read_bridge_manifest(path).source
    if source not in senders:
        raise _refused("unknown-source")
    manifest, pairs = open_bridge(path, hub, senders[source])
    if manifest.source != source:  # another file stands here than was asked for its sender
        raise _refused("untrusted-sender")
    if manifest.project != project:
        raise _refused("wrong-project")
    if manifest.epoch != epoch:
        raise _refused("wrong-epoch")
    with folder.locked():
        folder.sweep()
        return manifest, take_bridge(folder, hub, source, pairs, digest=file_digest(path))


def _refused(reason: str) -> SealError:
    return SealError(f"bridge file refused: {reason}", reason=reason, hint=INTAKE_REASONS[reason])
