"""``linkage keys protect``: put a private key file under the system's keystore or a hardware token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from linkage.cli.console import say
from linkage.errors import KeyFileError
from linkage.exchange.custody.keystore import KeystoreKeeper
from linkage.exchange.custody.token import TokenKeeper
from linkage.exchange.keyfile import protect_key_file

__all__ = ["protect"]


def protect(
    file: Path,
    *,
    by: Annotated[Literal["keystore", "token"], cyclopts.Parameter(name="--by")],
    module: Annotated[Path | None, cyclopts.Parameter(name="--module")] = None,
    token_label: Annotated[str | None, cyclopts.Parameter(name="--token-label")] = None,
    key_label: Annotated[str | None, cyclopts.Parameter(name="--key-label")] = None,
    new: Annotated[bool, cyclopts.Parameter(name="--new", negative="")] = False,
) -> None:
    """Put a protected file in the place of a private key file; all other commands take it as they took the plain one.

    Have the backup shares ready first: without the keystore's entry or the token the file cannot be opened again.

    Parameters
    ----------
    file
        A linkage key, or a party's private key.
    by
        keystore: that of this account on this machine (Windows, macOS, a Linux desktop). token: a card, a stick or an
        HSM, through its PKCS#11 library; its PIN is asked for at the terminal, now and whenever the key is used.
    module
        token: full path of its PKCS#11 library.
    token_label
        token: its label.
    key_label
        token: label of the AES or RSA key on it that protects the file; it must not be extractable.
    new
        token: make an AES key under that label first.
    """
    named = module is not None and token_label is not None and key_label is not None
    if named is not (by == "token") or (by == "keystore" and any((module, token_label, key_label, new))):
        raise KeyFileError(
            "a token takes --module, --token-label and --key-label, all three, and a keystore none of them",
            reason="usage",
            hint="linkage keys protect --help",
        )
    if module is not None and token_label is not None and key_label is not None:
        keeper: TokenKeeper | KeystoreKeeper = TokenKeeper(module, token_label, key_label, new)
        kept = f"token {token_label}, key {key_label}"
    else:
        keeper = KeystoreKeeper()
        kept = f"the keystore of this account ({keeper.name})"
    protect_key_file(file, keeper)
    say(f"protected: {file}")
    say(f"opens with: {kept}")
    say("the plain file was overwritten and removed; flash storage, snapshots and backups may keep copies of it")
