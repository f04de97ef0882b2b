"""The key ceremony: several parties make the linkage key of an epoch, and none of them chooses it.

Commit, then reveal; every file is signed by its author, and the folder with them may be carried by anybody
(:mod:`linkage.exchange.ceremony.documents`):

1. somebody **invites** the participants, by their whole public keys; the digest of the invitation is the ceremony's id,
   which all compare by voice;
2. each **commits** to 32 random bytes: SHA-256 over the ceremony, its name and the bytes, which stay on its machine;
3. when all commitments are there, each **contributes** its bytes, sealed (HPKE) for each other participant and bound
   to all the commitments;
4. each opens all of them, holds each to its commitment, derives the key and **confirms** it by its check value.

The key is HKDF-SHA-256 of all contributions in the order of the names; ``info`` is the ceremony and its commitments and
nothing that comes later: what is sealed is random each time, so that a key that depended on it could be chosen by
whoever contributes last. As long as one participant's bytes are random and unseen, so is the key.

What a participant can still do is to look at the others' contributions and then keep its own back. That stops the
ceremony, everybody sees who is awaited, and it is begun anew with new random bytes; it is a reason to ask why.
Nobody who only carries the files can open or bend anything. Once all have confirmed, the folder holds every
contribution sealed for the others: whoever has the folder and the private keys of two participants has the key.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkage.errors import KeyFileError, NotPermittedError
from linkage.exchange import ledger
from linkage.exchange.canonical import encode_bytes, pack
from linkage.exchange.ceremony.documents import (
    COMMITMENT,
    CONFIRMATION,
    CONTRIBUTION,
    LEDGER,
    Ceremony,
    Commitment,
    Confirmation,
    Contribution,
    Signed,
    cheated,
    note,
    now,
    publish,
    read_ceremony,
)
from linkage.exchange.ceremony.own import (
    Done,
    Pending,
    create_pending,
    forget_pending,
    has_pending,
    read_done,
    read_pending,
    rewrite_pending,
    write_done,
)
from linkage.exchange.keys import LinkageKey, Party, load_linkage_key, write_linkage_key

__all__ = ["Step", "agreed", "commitment_of", "confirm", "join", "linkage_secret"]

_SHORTEST_ID = 32
_COMMIT, _CONTRIBUTE, _CONFIRM = "ceremony-commit", "ceremony-contribute", "ceremony-confirm"

Step = Literal["committed", "awaits-commitments", "contributed", "awaits-contributions", "may-confirm", "confirmed"]
"""What :func:`join` did, or what is awaited."""


def commitment_of(ceremony: str, name: str, random: bytes) -> str:
    """SHA-256, hex, over the ceremony's id, the participant's name and its 32 random bytes."""
    return hashlib.sha256(pack("linkage ceremony commitment v1", ceremony, name, random)).hexdigest()


def linkage_secret(ceremony: Ceremony, contributions: dict[str, bytes]) -> bytes:
    """Derive the 32 bytes of the linkage key from all contributions.

    HKDF-SHA-256 (RFC 5869) of the contributions, joined in the order of the names; ``salt`` and ``info`` as below.
    """
    whole = b"".join(contributions[name] for name in ceremony.invitation.names)
    info = pack("linkage key", ceremony.id, ceremony.commitments_digest())
    return HKDF(SHA256(), 32, salt=b"linkage ceremony v1", info=info).derive(whole)


def _seal_info(ceremony: Ceremony, sender: str, recipient: str) -> bytes:
    parties = ceremony.parties
    return pack(
        "linkage ceremony contribution v1",
        ceremony.id,
        parties[sender].key_id,
        parties[recipient].key_id,
        ceremony.commitments_digest(),
    )


def join(folder: Path, party: Party, keys: Path, *, told: str | None = None) -> tuple[Ceremony, Step]:
    """Do what is due for this participant: commit, or contribute when all have committed.

    May be called as often as one likes; what is done is not done again. What a run that was stopped has left undone is
    made up for: an entry in the ledger, or, by a party that has its key, a confirmation that is lost.

    Parameters
    ----------
    folder
        The ceremony's.
    party
        Who takes part.
    keys
        Its folder of keys: for its random bytes until it has confirmed, and its ledger.
    told
        The ceremony's id as it was told by another way (by voice); its first 32 characters will do. Needed to commit to
        an invitation by somebody else.

    Raises
    ------
    NotPermittedError
        ``not-invited``; ``unconfirmed-ceremony`` without the id, ``another-ceremony`` with a different one.
    SealError
        A file of the ceremony does not stand; see :func:`~linkage.exchange.ceremony.documents.read_ceremony`.
        ``other-documents``: this party has confirmed already, and not what is here now.
    KeyFileError
        The random bytes cannot be read (``missing``, ``too-open``, ``malformed``).
    """
    ceremony = read_ceremony(folder)
    _invited(ceremony, party)
    _note_missing(ceremony, party, keys)
    done = read_done(keys, ceremony.id, party.name)
    if done is not None:
        return _restored(Path(folder), ceremony, party, keys, done), "confirmed"
    if party.name in ceremony.confirmations:
        return ceremony, "confirmed"
    if party.name not in ceremony.commitments:
        _compare(ceremony, party, told)
        pending = create_pending(keys, ceremony.id, party.name)
        content = Commitment(
            ceremony=ceremony.id,
            name=party.name,
            time=now(),
            commitment=commitment_of(ceremony.id, party.name, pending.random),
        )
        digest = publish(Path(folder) / f"{party.name}.commitment", COMMITMENT, content, party)
        note(keys, party, _COMMIT, digest, ceremony)
        return read_ceremony(folder), "committed"
    if ceremony.awaited(ceremony.commitments):
        return ceremony, "awaits-commitments"
    if party.name not in ceremony.contributions:
        _contribute(Path(folder), ceremony, party, keys)
        return read_ceremony(folder), "contributed"
    return ceremony, "awaits-contributions" if ceremony.awaited(ceremony.contributions) else "may-confirm"


def _contribute(folder: Path, ceremony: Ceremony, party: Party, keys: Path) -> None:
    pending = _own(ceremony, party, keys)
    # Once and for all: who has seen these bytes must find nobody who would take another commitment for them.
    rewrite_pending(keys, Pending(pending.ceremony, pending.name, pending.random, ceremony.commitments_digest()))
    content = Contribution(
        ceremony=ceremony.id,
        name=party.name,
        time=now(),
        commitments=_digests(ceremony.commitments),
        sealed={
            name: encode_bytes(other.wrap(pending.random, _seal_info(ceremony, party.name, name)))
            for name, other in ceremony.parties.items()
            if name != party.name
        },
    )
    digest = publish(folder / f"{party.name}.contribution", CONTRIBUTION, content, party)
    note(keys, party, _CONTRIBUTE, digest, ceremony)


def _own(ceremony: Ceremony, party: Party, keys: Path) -> Pending:
    """Read the own random bytes, which are to fit the commitment here, and were given away under no other ones."""
    pending = read_pending(keys, ceremony.id, party.name)
    promised = ceremony.commitments[party.name].content.commitment
    if not hmac.compare_digest(commitment_of(ceremony.id, party.name, pending.random), promised):
        raise cheated(
            f"the commitment of {party.name} is not to the random bytes that are kept here",
            "not-committed",
            "it was made on another machine or for other bytes; begin a new ceremony",
        )
    if pending.commitments not in (None, ceremony.commitments_digest()):
        raise cheated(
            "commitments are others now than when this party contributed",
            "other-commitments",
            "somebody exchanged one after it could see what was contributed; use no key, and begin anew",
        )
    return pending


def confirm(folder: Path, party: Party, keys: Path, out: Path) -> Ceremony:
    """Open all contributions, make the linkage key, forget the own random bytes, and tell the others its check value.

    Parameters
    ----------
    folder, party, keys
        As for :func:`join`.
    out
        The linkage key file to write. Where there is one already, it must hold this very key.

    Returns
    -------
    Ceremony
        With all confirmations so far; they agree (:func:`agreed`).

    Raises
    ------
    NotPermittedError
        ``not-invited``, or ``not-yet`` while commitments or contributions are awaited.
    SealError
        As for :func:`join`. ``cannot-open``: a contribution is not sealed for this participant.
        ``not-committed``: it is not what its author committed to. ``check-values-differ``: not all have the same key.
        No key is written then.
    KeyFileError
        As for :func:`join`; ``exists`` if another key is in ``out``.
    """
    folder, out = Path(folder), Path(out)
    ceremony = read_ceremony(folder)
    _invited(ceremony, party)
    _note_missing(ceremony, party, keys)
    if not has_pending(keys, ceremony.id):
        done = read_done(keys, ceremony.id, party.name)
        if done is not None:
            ceremony = _restored(folder, ceremony, party, keys, done)
        if party.name in ceremony.confirmations:
            agreed(ceremony)
            return ceremony
    for what, documents in (("commitment", ceremony.commitments), ("contribution", ceremony.contributions)):
        missing = ceremony.awaited(documents)
        if missing:
            raise NotPermittedError(
                f"the {what} of {', '.join(missing)} is awaited",
                reason="not-yet",
                hint="run join; if somebody keeps the own contribution back, begin a new ceremony and ask why",
            )
    secret = linkage_secret(ceremony, _open_all(ceremony, party, _own(ceremony, party, keys)))
    project, epoch = ceremony.invitation.project, ceremony.invitation.epoch
    check_value = LinkageKey(project, epoch, secret).check_value
    there = _has(out, check_value)
    if party.name not in ceremony.confirmations:  # it is after a run that was stopped before it wrote the key
        _publish_confirmation(folder, ceremony, party, keys, check_value)
        ceremony = read_ceremony(folder)
    agreed(ceremony)
    if not there:
        write_linkage_key(out, project, epoch, secret)
    seen = {"commitments": _digests(ceremony.commitments), "contributions": _digests(ceremony.contributions)}
    write_done(keys, Done(ceremony=ceremony.id, name=party.name, check_value=check_value, **seen))
    forget_pending(keys, ceremony.id)
    return ceremony


def _digests(documents: Mapping[str, Signed[Commitment]] | Mapping[str, Signed[Contribution]]) -> dict[str, str]:
    return {name: signed.digest for name, signed in documents.items()}


def _publish_confirmation(folder: Path, ceremony: Ceremony, party: Party, keys: Path, check_value: str) -> None:
    content = Confirmation(
        ceremony=ceremony.id,
        name=party.name,
        time=now(),
        commitments=_digests(ceremony.commitments),
        contributions=_digests(ceremony.contributions),
        check_value=check_value,
    )
    digest = publish(folder / f"{party.name}.confirmation", CONFIRMATION, content, party)
    note(keys, party, _CONFIRM, digest, ceremony, check_value=check_value)


def _restored(folder: Path, ceremony: Ceremony, party: Party, keys: Path, done: Done) -> Ceremony:
    """Make a confirmation again that is lost; refuse where the documents are not those that this party confirmed."""
    here = (_digests(ceremony.commitments), _digests(ceremony.contributions))
    if here != (done.commitments, done.contributions):
        raise cheated(
            f"{party.name} has confirmed this ceremony already, and documents that it saw are missing or others now",
            "other-documents",
            "fetch the whole folder again, or a copy of it; nobody takes part twice in one ceremony",
        )
    own = ceremony.confirmations.get(party.name)
    if own is None:
        _publish_confirmation(folder, ceremony, party, keys, done.check_value)
        return read_ceremony(folder)
    return ceremony


def _note_missing(ceremony: Ceremony, party: Party, keys: Path) -> None:
    """Enter own documents in the ledger that a run which was stopped has written and not entered."""
    book = Path(keys) / LEDGER
    noted = {entry.object for entry in ledger.entries(book)} if book.exists() else set()
    steps = ((_COMMIT, ceremony.commitments), (_CONTRIBUTE, ceremony.contributions))
    for action, documents in steps:
        if party.name in documents and documents[party.name].digest not in noted:
            note(keys, party, action, documents[party.name].digest, ceremony)
    confirmation = ceremony.confirmations.get(party.name)
    if confirmation is not None and confirmation.digest not in noted:
        check_value = confirmation.content.check_value
        note(keys, party, _CONFIRM, confirmation.digest, ceremony, check_value=check_value)


def _has(out: Path, check_value: str) -> bool:
    """Tell whether the key file is there already, as after a run that was stopped; another one is no place for it."""
    if not out.exists():
        return False
    if not hmac.compare_digest(load_linkage_key(out).check_value, check_value):
        raise KeyFileError(
            f"{out}: another linkage key is here, and key files are never overwritten",
            reason="exists",
            hint="name another file with --out and run confirm again",
        )
    return True


def _open_all(ceremony: Ceremony, party: Party, own: Pending) -> dict[str, bytes]:
    """Open each contribution and hold it to its commitment; who gave another one is named."""
    opened = {party.name: own.random}
    for name in ceremony.invitation.names:
        if name == party.name:
            continue
        sealed = ceremony.contributions[name].content.sealed[party.name]
        try:
            random = party.unwrap(b64decode(sealed, validate=True), _seal_info(ceremony, name, party.name))
        except (InvalidTag, ValueError):
            raise cheated(
                f"the contribution of {name} cannot be opened by {party.name}",
                "cannot-open",
                f"{name} sealed it wrongly; begin a new ceremony and ask why",
            ) from None
        promised = ceremony.commitments[name].content.commitment
        if len(random) != 32 or not hmac.compare_digest(commitment_of(ceremony.id, name, random), promised):
            raise cheated(
                f"{name} contributed other bytes than it had committed to",
                "not-committed",
                f"{name} or its program cheats; use no key, and begin a new ceremony without it",
            )
        opened[name] = random
    return opened


def agreed(ceremony: Ceremony) -> bool:
    """Tell whether all have confirmed.

    Raises
    ------
    SealError
        ``check-values-differ`` if those who have do not hold the same key; it names who has which.
    """
    groups: dict[str, list[str]] = {}
    for name, signed in sorted(ceremony.confirmations.items()):
        groups.setdefault(signed.content.check_value, []).append(name)
    if len(groups) > 1:
        sides = " and ".join(", ".join(names) for names in groups.values())
        raise cheated(
            f"{sides} have different keys",
            "check-values-differ",
            "use no key; one of them says something false, or runs another program; begin a new ceremony",
        )
    return not ceremony.awaited(ceremony.confirmations)


def _invited(ceremony: Ceremony, party: Party) -> None:
    invited = ceremony.parties.get(party.name)
    if invited is None or invited.key_id != party.key_id:
        raise NotPermittedError(
            f"{party.name} is not invited to this ceremony with this key",
            reason="not-invited",
            hint="invited are " + ", ".join(ceremony.invitation.names),
        )


def _compare(ceremony: Ceremony, party: Party, told: str | None) -> None:
    """Make sure that the invitation is the one that was meant: whoever carries it could have put in keys of its own."""
    if told is None:
        if ceremony.invitation.inviter.key_id == party.key_id:
            return
        raise NotPermittedError(
            "the id of the ceremony is to be confirmed by another way than the folder came",
            reason="unconfirmed-ceremony",
            hint="have it read to you by the one who invites, and give it with --ceremony",
        )
    given = "".join(told.split()).lower()
    if len(given) < _SHORTEST_ID or not ceremony.id.startswith(given):
        raise NotPermittedError(
            "the invitation here has another id than the one that was given",
            reason="another-ceremony",
            hint=f"give its first {_SHORTEST_ID} characters or more; if they differ, somebody exchanged the invitation:"
            " do not go on",
        )
