"""Who is to make a linkage key: the invitation to a key ceremony, the first of a project or the next after another.

A key is given up on a schedule, on suspicion, or because a participant is revoked; then those who stay make the key of
a new epoch, out of new random bytes. Nothing of the old key is in the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from linkage.errors import KeyFileError
from linkage.exchange.ceremony.documents import (
    INVITATION,
    Ceremony,
    Invitation,
    Participant,
    Reason,
    note,
    now,
    publish,
    read_ceremony,
)
from linkage.exchange.envelope import file_digest
from linkage.exchange.files import atomic_write
from linkage.exchange.keys import Party, load_public

__all__ = ["invite", "rotate"]


def invite(
    folder: Path,
    *,
    project: str,
    epoch: str,
    participants: Iterable[Path],
    inviter: Party,
    public_file: Path,
    keys: Path,
    previous: Ceremony | None = None,
    reason: Reason = "first",
    revoked: Sequence[str] = (),
) -> Ceremony:
    """Write an invitation, and the public key files that it speaks of, into a new folder.

    Parameters
    ----------
    folder
        The ceremony's. It will hold nothing secret.
    project, epoch
        What the key is for.
    participants
        Public key files of those who make the key, compared by voice before.
    inviter, public_file
        Who invites, and its own public key file; a participant or another.
    keys
        The inviter's folder of keys, with its ledger.
    previous, reason, revoked
        The ceremony before, why its key is given up, and whom it was taken from; see
        :class:`~linkage.exchange.ceremony.documents.Invitation`.

    Raises
    ------
    KeyFileError
        ``exists`` if there is an invitation already; ``bad-invitation`` if names, epochs or reasons do not fit; or a
        public key file cannot be read.
    """
    folder = Path(folder)
    path = folder / "invitation"
    if path.exists():
        raise KeyFileError(
            f"{path}: a ceremony was begun here already", reason="exists", hint="give each ceremony a folder of its own"
        )
    if load_public(public_file).key_id != inviter.key_id:
        raise KeyFileError(f"{public_file}: not the public file of this key", reason="wrong-key")
    files = {load_public(file).name: Path(file) for file in (public_file, *participants)}
    invited = [_participant(Path(file)) for file in participants]
    try:
        content = Invitation(
            project=project,
            epoch=epoch,
            participants=sorted(invited, key=lambda one: one.name),
            inviter=_participant(public_file),
            reason=reason,
            previous=None if previous is None else previous.id,
            previous_epoch=None if previous is None else previous.invitation.epoch,
            revoked=sorted(revoked),
            time=now(),
        )
    except ValidationError:
        raise KeyFileError(
            "no ceremony can be begun so",
            reason="bad-invitation",
            hint="at least two participants, each once and with a key of its own; an epoch that is new; project:"
            " lower-case letters, digits, underscores; epoch: letters, digits, dots, hyphens; at most 40",
        ) from None
    for name, file in files.items():
        with atomic_write(folder / f"{name}.pub") as temporary:
            temporary.write_bytes(file.read_bytes())
    digest = publish(path, INVITATION, content, inviter)
    ceremony = read_ceremony(folder)
    note(keys, inviter, "ceremony-invite", digest, ceremony, reason=reason)
    return ceremony


def rotate(
    previous: Path,
    folder: Path,
    *,
    epoch: str,
    reason: Literal["scheduled", "suspicion", "revoked"],
    inviter: Party,
    public_file: Path,
    keys: Path,
    participants: Sequence[Path] = (),
    revoked: Sequence[str] = (),
) -> Ceremony:
    """Invite those of an earlier ceremony to make the key of the next epoch.

    Parameters
    ----------
    previous
        Folder of the earlier ceremony.
    folder, epoch, inviter, public_file, keys
        As for :func:`invite`.
    reason, revoked
        Why; and which of the participants are not invited any more.
    participants
        Public key files that are new: of a participant whose keys were renewed, or of another agency that joins.

    Raises
    ------
    KeyFileError
        As :func:`invite`; ``not-a-participant`` if one is revoked who was not among them.
    SealError
        The earlier ceremony does not stand; see :func:`~linkage.exchange.ceremony.documents.read_ceremony`.
    """
    before = read_ceremony(previous)
    strangers = sorted(set(revoked) - set(before.parties))
    if strangers:
        raise KeyFileError(
            f"{', '.join(strangers)}: no participant of the ceremony before",
            reason="not-a-participant",
            hint="participants were " + ", ".join(before.invitation.names),
        )
    files = {name: Path(previous) / f"{name}.pub" for name in before.invitation.names if name not in revoked}
    files |= {load_public(file).name: Path(file) for file in participants}
    return invite(
        folder,
        project=before.invitation.project,
        epoch=epoch,
        participants=files.values(),
        inviter=inviter,
        public_file=public_file,
        keys=keys,
        previous=before,
        reason=reason,
        revoked=revoked,
    )


def _participant(path: Path) -> Participant:
    public = load_public(path)
    return Participant(name=public.name, key_id=public.key_id, public_file=file_digest(path))
