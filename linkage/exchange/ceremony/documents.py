"""The files of a key ceremony: what may stand in each, and that its author has signed it.

All are signed documents (:mod:`linkage.exchange.documents`) in one folder, which anybody may carry and keep:

======================  ====================================================================================
``invitation``          who is to make the key of which project and epoch; its digest is the ceremony's id
``<name>.pub``          the public key file of each participant and of who invites, as the invitation says
``<name>.commitment``   the digest of 32 random bytes that stay with the participant
``<name>.contribution``  those bytes, sealed for each other participant, when all commitments are there
``<name>.confirmation``  the check value of the key that came out of them
======================  ====================================================================================

Nothing secret is in them but the sealed bytes. :func:`read_ceremony` believes a file only when it is signed by the key
that the invitation names, speaks of this ceremony, and is by whom its name says; whose file is not like that is named.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator

from linkage.contract.vocabulary import Name
from linkage.errors import SealError
from linkage.exchange import ledger
from linkage.exchange.canonical import pack
from linkage.exchange.documents import Document, read_document, write_document
from linkage.exchange.envelope import file_digest
from linkage.exchange.keyfile import EPOCH_NAME, PARTY_NAME
from linkage.exchange.keys import Party, PublicParty, load_public
from linkage.exchange.manifest import HEX32, Strict
from linkage.exchange.reasons import refuse

__all__ = [
    "COMMITMENT",
    "CONFIRMATION",
    "CONTRIBUTION",
    "INVITATION",
    "LEDGER",
    "VERSION",
    "Ceremony",
    "Commitment",
    "Confirmation",
    "Contribution",
    "Invitation",
    "Participant",
    "Signed",
    "cheated",
    "note",
    "now",
    "publish",
    "read_ceremony",
]

INVITATION, COMMITMENT, CONTRIBUTION, CONFIRMATION = (
    "ceremony-invitation",
    "ceremony-commitment",
    "ceremony-contribution",
    "ceremony-confirmation",
)
"""Kinds of documents."""

VERSION = 1
"""Of all of them."""

LEDGER = "ledger"
"""A party's own ledger, in the folder of its keys."""

_LARGEST = 256 * 1024
_MOST = 32

_PartyName = Annotated[str, StringConstraints(pattern=f"^{PARTY_NAME.pattern}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_KeyId = Annotated[str, StringConstraints(pattern=HEX32)]
_Epoch = Annotated[str, StringConstraints(pattern=f"^{EPOCH_NAME.pattern}$")]
_CheckValue = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
_Sealed = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{4,4096}={0,2}$")]
_Time = Annotated[int, Field(gt=0, lt=2**53)]
_Digests = Annotated[dict[_PartyName, _Digest], Field(min_length=2, max_length=_MOST)]
Reason = Literal["first", "scheduled", "suspicion", "revoked"]


class Participant(Strict):
    """A party by its name, its key id, and the SHA-256 of its whole public key file."""

    name: _PartyName
    key_id: _KeyId
    public_file: _Digest


class Invitation(Strict):
    """Who is to make the linkage key of a project for one epoch.

    Parameters
    ----------
    project, epoch
        What the key is for.
    participants
        At least two, in the order of their names.
    inviter
        Who signs this; it may be a participant or another, such as the hub: it gains nothing by it.
    reason
        ``first``; or why the key before is given up.
    previous, previous_epoch
        Id of the ceremony before, and its epoch; None in a first one.
    revoked
        Participants of the ceremony before who are not invited any more, because they are revoked.
    time
        Microseconds since 1970 UTC.
    """

    project: Name
    epoch: _Epoch
    participants: Annotated[list[Participant], Field(min_length=2, max_length=_MOST)]
    inviter: Participant
    reason: Reason
    previous: _Digest | None
    previous_epoch: _Epoch | None
    revoked: Annotated[list[_PartyName], Field(max_length=_MOST)]
    time: _Time

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = self.names
        if names != sorted(set(names)) or len({one.key_id for one in self.participants}) < len(names):
            raise ValueError("each participant once, in the order of their names, each with keys of its own")
        inviter = self.inviter
        if any(
            one != inviter and (one.name == inviter.name or one.key_id == inviter.key_id) for one in self.participants
        ):
            raise ValueError("two parties of one name, or one party of two names")
        if not (self.previous is None) == (self.previous_epoch is None) == (self.reason == "first"):
            raise ValueError("a first ceremony has none before it, and every other one has")
        if self.previous_epoch == self.epoch:
            raise ValueError("a new key is for a new epoch")
        if bool(self.revoked) != (self.reason == "revoked") or set(self.revoked) & set(names):
            raise ValueError("who is revoked is told, and is not invited")
        return self

    @property
    def names(self) -> list[str]:
        """Names of the participants, sorted."""
        return [one.name for one in self.participants]


class _Part(Strict):
    """What every participant's document says first."""

    ceremony: _Digest
    name: _PartyName
    time: _Time


class Commitment(_Part):
    """SHA-256 over the ceremony, the name and the participant's 32 random bytes (:func:`~.ceremony.commitment_of`)."""

    commitment: _Digest


class Contribution(_Part):
    """The 32 bytes, sealed for each other participant; and which commitments (their files' digests) its author saw."""

    commitments: _Digests
    sealed: Annotated[dict[_PartyName, _Sealed], Field(min_length=1, max_length=_MOST)]


class Confirmation(_Part):
    """The check value of the key that its author has; and which commitments and contributions it came from."""

    commitments: _Digests
    contributions: _Digests
    check_value: _CheckValue


_Model = TypeVar("_Model", bound=Strict)
_Body = TypeVar("_Body", bound=_Part)


@dataclass(frozen=True)
class Signed(Generic[_Body]):
    """A document whose signature was checked: what it says, and the SHA-256 of its file, hex."""

    content: _Body
    digest: str


@dataclass(frozen=True)
class Ceremony:
    """What is in the folder of a ceremony, all of it checked as far as it can be without a secret.

    Attributes
    ----------
    id
        SHA-256 of the invitation, hex. By it everybody sees that all were invited with the same keys.
    invitation
        What it says.
    parties
        Public keys of the participants by name.
    commitments, contributions, confirmations
        What is there, by the name of its author.
    """

    id: str
    invitation: Invitation
    parties: Mapping[str, PublicParty]
    commitments: Mapping[str, Signed[Commitment]]
    contributions: Mapping[str, Signed[Contribution]]
    confirmations: Mapping[str, Signed[Confirmation]]

    def awaited(self, documents: Iterable[str]) -> list[str]:
        """Names of the participants whose document is not there yet."""
        there = set(documents)
        return [name for name in self.invitation.names if name not in there]

    def commitments_digest(self) -> str:
        """SHA-256 over all commitments' files in the order of the names, hex: what everything later is bound to."""
        parts = [part for name in self.invitation.names for part in (name, self.commitments[name].digest)]
        return hashlib.sha256(pack("linkage ceremony commitments v1", self.id, *parts)).hexdigest()


def cheated(what: str, reason: str, hint: str) -> SealError:
    """Make the error that says whose file, in which of the ways that ``reason`` names, is not what it should be."""
    return SealError(f"ceremony: {what}", reason=reason, hint=hint)


def read_ceremony(folder: Path) -> Ceremony:
    """Read all that is in the folder of a ceremony, and check it.

    Files that the invitation does not speak of are not looked at.

    Raises
    ------
    SealError
        ``unreadable``, ``bad-version``, ``malformed`` or ``bad-signature`` of a document, with its name.
        ``foreign-ceremony``: it is from another ceremony. ``wrong-author``: it speaks for another participant.
        ``wrong-key``: a public key file is not the one that was invited.
        ``too-early``: something was contributed before all had committed.
        ``other-commitments``, ``other-contributions``: two participants have seen different files of the same name.
    KeyFileError
        A public key file cannot be read.
    """
    folder = Path(folder)
    path = folder / "invitation"
    document = _read(path, INVITATION)
    invitation = _validated(Invitation, document, path)
    parties = {one.name: _party(folder, one) for one in invitation.participants}
    inviter = parties.get(invitation.inviter.name) or _party(folder, invitation.inviter)
    _verify(document, inviter, path)
    commitments = _parts(folder, Commitment, COMMITMENT, document.digest, parties)
    contributions = _parts(folder, Contribution, CONTRIBUTION, document.digest, parties)
    confirmations = _parts(folder, Confirmation, CONFIRMATION, document.digest, parties)
    ceremony = Ceremony(document.digest, invitation, parties, commitments, contributions, confirmations)
    for later in (contributions, confirmations):
        _check_order(ceremony, later)
    return ceremony


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def publish(path: Path, kind: str, content: Strict, author: Party) -> str:
    """Sign and write a document of the ceremony, and return the SHA-256 of its file, hex."""
    return write_document(path, kind, VERSION, content.model_dump(), author)


def note(keys: Path, party: Party, action: str, digest: str, ceremony: Ceremony, **extra: str) -> None:
    """Enter a step, with the digest of the document that it made, in the party's own ledger beside its keys."""
    invitation = ceremony.invitation
    ledger.append(
        Path(keys) / LEDGER,
        actor=party.name,
        action=action,
        object_digest=digest,
        extra={"ceremony": ceremony.id, "project": invitation.project, "epoch": invitation.epoch, **extra},
    )


def _parts(
    folder: Path, model: type[_Body], kind: str, ceremony: str, parties: Mapping[str, PublicParty]
) -> dict[str, Signed[_Body]]:
    found = {}
    for name, party in parties.items():
        path = folder / f"{name}.{kind.removeprefix('ceremony-')}"
        if not path.exists():
            continue
        document = _read(path, kind)
        content = _validated(model, document, path)
        _verify(document, party, path)
        if content.ceremony != ceremony:
            raise cheated(
                f"{path.name} is from another ceremony",
                "foreign-ceremony",
                f"{name} sends the one of this ceremony; all compare the ceremony's id by voice",
            )
        if content.name != name:
            raise cheated(f"{path.name} speaks for another participant", "wrong-author", f"ask {name} for its own")
        found[name] = Signed(content, document.digest)
    return found


def _check_order(
    ceremony: Ceremony, later: Mapping[str, Signed[Contribution]] | Mapping[str, Signed[Confirmation]]
) -> None:
    """Hold what each participant says it saw to what is here."""
    if not later:
        return
    missing = ceremony.awaited(ceremony.commitments)
    if missing:
        raise cheated(
            f"{_list(later)} went on, and the commitment of {_list(missing)} is not here",
            "too-early",
            "fetch the whole folder again; nobody contributes before all have committed",
        )
    here = {name: signed.digest for name, signed in ceremony.commitments.items()}
    for name, signed in later.items():
        _same(name, "commitment", signed.content.commitments, here, "other-commitments")
    there = {name: signed.digest for name, signed in ceremony.contributions.items()}
    for name, signed in later.items():
        if isinstance(signed.content, Contribution):
            others = set(ceremony.parties) - {name}
            if set(signed.content.sealed) != others:
                raise cheated(
                    f"the contribution of {name} is not for all others", "left-out", "begin a new ceremony without it"
                )
        else:
            missing = ceremony.awaited(ceremony.contributions)
            if missing:
                raise cheated(
                    f"{name} has confirmed, and the contribution of {_list(missing)} is not here",
                    "too-early",
                    "fetch the whole folder again",
                )
            _same(name, "contribution", signed.content.contributions, there, "other-contributions")


def _same(name: str, what: str, seen: Mapping[str, str], here: Mapping[str, str], reason: str) -> None:
    different = sorted(one for one in {*seen, *here} if seen.get(one) != here.get(one))
    if different:
        raise cheated(
            f"{name} has seen another {what} of {_list(different)} than is here",
            reason,
            f"somebody exchanged it: {_list(different)} gave out two, {name} says so falsely, or the carrier did;"
            " compare the files, use no key, and begin anew",
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _party(folder: Path, expected: Participant) -> PublicParty:
    path = folder / f"{expected.name}.pub"
    public = load_public(path)
    if (public.name, public.key_id, file_digest(path)) != (expected.name, expected.key_id, expected.public_file):
        raise cheated(
            f"{path.name} is not the public key that was invited",
            "wrong-key",
            "fetch the whole folder again; if it stays so, somebody exchanged the key: begin anew",
        )
    return public


def _read(path: Path, kind: str) -> Document:
    try:
        return read_document(path, kind, {VERSION}, largest=_LARGEST)
    except SealError as error:
        raise _named(path, error) from None


def _verify(document: Document, author: PublicParty, path: Path) -> None:
    try:
        document.verify(author)
    except SealError as error:
        raise _named(path, error) from None


def _validated(model: type[_Model], document: Document, path: Path) -> _Model:
    try:
        return model.model_validate(document.content)
    except ValidationError:
        raise _named(path, refuse("malformed")) from None


def _named(path: Path, error: SealError) -> SealError:
    return SealError(f"{path}: {error.message}", reason=error.reason, hint=error.hint)
