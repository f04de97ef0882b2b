"""``linkage keys ceremony``, ``join``, ``confirm``, ``rotate``, ``revoke``: a linkage key that no party chooses."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import cyclopts

from linkage.cli.console import print_json, say, spaced
from linkage.exchange.ceremony.documents import Ceremony, read_ceremony
from linkage.exchange.ceremony.invitation import invite
from linkage.exchange.ceremony.invitation import rotate as rotate_ceremony
from linkage.exchange.ceremony.steps import agreed
from linkage.exchange.ceremony.steps import confirm as confirm_ceremony
from linkage.exchange.ceremony.steps import join as join_ceremony
from linkage.exchange.keys import Party, load_party

__all__ = ["ceremony", "confirm", "join", "revoke", "rotate"]

_Key = Annotated[Path, cyclopts.Parameter(name="--key")]
_Epoch = Annotated[str, cyclopts.Parameter(name="--epoch")]
_Out = Annotated[Path, cyclopts.Parameter(name="--out")]
_Json = Annotated[bool, cyclopts.Parameter(name="--json", negative=())]
_Previous = Annotated[Path, cyclopts.Parameter(name="--previous")]
_Participants = Annotated[list[Path], cyclopts.Parameter(name="--participants", consume_multiple=True)]

_DONE = {
    "committed": "committed; what this party keeps to itself until the end is beside its key",
    "awaits-commitments": "nothing is due yet",
    "contributed": "contributed: sealed for each of the others",
    "awaits-contributions": "nothing is due yet",
    "may-confirm": "all have contributed: run confirm",
    "confirmed": "this party has confirmed",
}


def ceremony(
    *,
    project: Annotated[str, cyclopts.Parameter(name="--project")],
    epoch: _Epoch,
    participants: _Participants,
    key: _Key,
    out: _Out = Path("ceremony"),
    json: _Json = False,
) -> None:
    """Begin a key ceremony: invite those who shall make the linkage key of an epoch together.

    Parameters
    ----------
    project
        The project's name.
    epoch
        The life of the key, such as 2026-1.
    participants
        Public key files of at least two parties, whose key ids were compared by voice. The hub and the analysis are
        never among them.
    key
        Private key of who invites, with its public file beside it: a participant or another, such as the hub.
    out
        A new folder, which anybody may carry from one to the other: nothing secret is ever in it.
    json
        Write JSON to stdout, too.
    """
    begun = invite(
        out,
        project=project,
        epoch=epoch,
        participants=participants,
        **_inviter(key),
    )
    _tell_invitation(begun, out, json=json)


def join(
    folder: Path,
    *,
    key: _Key,
    ceremony: Annotated[str | None, cyclopts.Parameter(name="--ceremony")] = None,
    json: _Json = False,
) -> None:
    """Do what is due for a participant: commit, or contribute when all have committed. Then pass the folder on.

    Parameters
    ----------
    folder
        The folder of the ceremony, with what the others have put into it.
    key
        The participant's private key. What it must not show yet is kept beside it.
    ceremony
        The ceremony's id as it was read to you by who invites, at least its first 32 characters: needed the first time.
    json
        Write JSON to stdout, too.
    """
    found, step = join_ceremony(folder, load_party(key), key.parent, told=ceremony)
    say(_DONE[step])
    _tell(found, json=json, step=step)


def confirm(
    folder: Path,
    *,
    key: Annotated[Path | None, cyclopts.Parameter(name="--key")] = None,
    out: _Out = Path("keys/linkage.key"),
    json: _Json = False,
) -> None:
    """Make the linkage key from all contributions, and confirm it; show who has confirmed, and that all have the same.

    Parameters
    ----------
    folder
        The folder of the ceremony.
    key
        The participant's private key. Without it the files are checked and nothing is written.
    out
        The linkage key file to write.
    json
        Write JSON to stdout, too.
    """
    if key is None:
        found = read_ceremony(folder)
        agreed(found)
    else:
        party = load_party(key)
        found = confirm_ceremony(folder, party, key.parent, out)
        say(f"linkage key: {out}")
        say(f"check value: {spaced(found.confirmations[party.name].content.check_value)}")
    if agreed(found):
        say("all have confirmed the same key; compare the check value by voice once more, then use it")
    else:
        say("do not use the key before all have confirmed")
    _tell(found, json=json)


def rotate(
    *,
    previous: _Previous,
    epoch: _Epoch,
    reason: Annotated[Literal["scheduled", "suspicion"], cyclopts.Parameter(name="--reason")],
    key: _Key,
    out: _Out,
    participants: _Participants | None = None,
    json: _Json = False,
) -> None:
    """Begin the ceremony for the next epoch with the participants of the last one.

    Parameters
    ----------
    previous
        Folder of the last ceremony.
    epoch
        The new epoch.
    reason
        scheduled, or suspicion: something may have been lost or seen.
    key
        As for ceremony.
    out
        A new folder.
    participants
        Public key files that are new since: renewed keys of a participant, or another agency.
    json
        Write JSON to stdout, too.
    """
    begun = rotate_ceremony(
        previous,
        out,
        epoch=epoch,
        reason=reason,
        participants=participants or (),
        **_inviter(key),
    )
    _tell_invitation(begun, out, json=json)
    _tell_next(begun)


def revoke(
    name: str,
    *,
    previous: _Previous,
    epoch: _Epoch,
    key: _Key,
    out: _Out,
    json: _Json = False,
) -> None:
    """Begin the ceremony for the next epoch without one of the participants, and say what else must be done.

    Parameters
    ----------
    name
        The participant that is revoked.
    previous
        Folder of the last ceremony.
    epoch
        The new epoch.
    key
        As for ceremony.
    out
        A new folder.
    json
        Write JSON to stdout, too.
    """
    begun = rotate_ceremony(
        previous,
        out,
        epoch=epoch,
        reason="revoked",
        revoked=[name],
        **_inviter(key),
    )
    _tell_invitation(begun, out, json=json)
    say(f"at once: the hub takes {name} out of its settings, so that batches signed by it are refused")
    _tell_next(begun)


class _Inviter(TypedDict):
    inviter: Party
    public_file: Path
    keys: Path


def _inviter(key: Path) -> _Inviter:
    """Return who invites, by its private key file, which has the public one and the ledger beside it."""
    return {"inviter": load_party(key), "public_file": key.with_suffix(".pub"), "keys": key.parent}


def _tell_next(begun: Ceremony) -> None:
    before = begun.invitation.previous_epoch
    say(f"when all have confirmed: every agency submits again under epoch {begun.invitation.epoch}")
    say(
        f"when the persons are carried over: the hub destroys the encodings of epoch {before}, and every holder its key"
    )
    say("the key of an epoch still reads that epoch's encodings wherever a copy of them is left")


def _tell_invitation(begun: Ceremony, folder: Path, *, json: bool) -> None:
    say(f"invitation written: {folder}")
    say(f"id of the ceremony, to be read to every participant by voice: {spaced(begun.id)}")
    _tell(begun, json=json)


def _tell(found: Ceremony, *, json: bool, step: str | None = None) -> None:
    """Say who is invited and who is awaited, in lines and for machines."""
    invitation = found.invitation
    stages = (
        ("commitment", found.commitments),
        ("contribution", found.contributions),
        ("confirmation", found.confirmations),
    )
    what, documents = next(((what, there) for what, there in stages if found.awaited(there)), stages[-1])
    awaited = found.awaited(documents)
    if step == "committed" or not found.commitments:
        for name, party in found.parties.items():
            say(f"  {name}: key id {spaced(party.key_id)}")
        if invitation.previous_epoch is not None:
            gone = f", without {', '.join(invitation.revoked)}" if invitation.revoked else ""
            say(f"epoch {invitation.epoch} follows {invitation.previous_epoch} ({invitation.reason}{gone})")
    if awaited:
        say(f"awaited: the {what} of {', '.join(awaited)}")
    if json:
        content = {
            "ceremony": found.id,
            "project": invitation.project,
            "epoch": invitation.epoch,
            "reason": invitation.reason,
            "step": step,
            "participants": {name: party.key_id for name, party in found.parties.items()},
            "committed": sorted(found.commitments),
            "contributed": sorted(found.contributions),
            "confirmed": {name: signed.content.check_value for name, signed in sorted(found.confirmations.items())},
            "awaited": awaited,
        }
        print_json(json_module.dumps(content, indent=2))
