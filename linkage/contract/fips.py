"""The FIPS switch: ``[security] fips = true`` in a site's settings, which fails closed.

Two libraries do the cryptography, each with an OpenSSL of its own: Python's (``hashlib``, ``hmac``) and that of
``cryptography``. Both must say that they work in FIPS mode; one that cannot tell does not. And every part that is about
to be used must be approved. All that the package uses are (:data:`PARTS`), so that what is refused is a provider out of
its mode; archives of earlier versions need X25519, which is not (:data:`ARCHIVED_PARTS`), and no command reads them.

What the switch does not say: approved primitives are not a validated module, and how they are put together has no
approval of its own. ML-KEM-1024 with P-384 is a hybrid: both halves are approved key establishment, and SP 800-56C
rev. 2 and SP 800-227 let two shared secrets be joined by a hash over both; the very combiner is that of an Internet
draft. HPKE (RFC 9180) and Cobblestone take the IVs of AES-GCM from a key derivation and count on from there, as TLS 1.3
does; whether SP 800-38D covers that outside TLS is for a validating laboratory to say. Opening keys come from one seed
by HKDF, where FIPS 203 and FIPS 186-5 have their random bits from a generator directly. Shares (SLIP-39) split a key in
a way for which there is no standard.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.backends import default_backend

from linkage.errors import NotPermittedError

__all__ = ["ARCHIVED_PARTS", "PARTS", "Part", "modes", "require_fips"]


@dataclass(frozen=True)
class Part:
    """A primitive in use.

    Parameters
    ----------
    name
        As the standard calls it.
    used_for
        What for, in words.
    standard
        The publication that approves it; None if none does.
    """

    name: str
    used_for: str
    standard: str | None


PARTS = (
    Part("SHA-256", "digests, key ids", "FIPS 180-4"),
    Part("HMAC-SHA-256", "positions of tokens, diffusion, padding, pseudonyms, fingerprint", "FIPS 198-1"),
    Part("HKDF-SHA-256", "the key tree, keys from a seed", "SP 800-56C"),
    Part("HKDF-SHA-384", "HPKE", "SP 800-56C"),
    Part("HKDF-SHA-512", "keys of chunks", "SP 800-56C"),
    Part("AES-256-GCM", "wrapped keys, chunks", "SP 800-38D"),
    Part("SHA3-256", "joining the two secrets of a sealed key", "FIPS 202"),
    Part("ML-KEM-1024", "sealing", "FIPS 203"),
    Part("P-384", "sealing", "SP 800-56A, SP 800-186"),
    Part("RSA-OAEP", "key files under a token that has RSA keys alone", "SP 800-56B"),
    Part("Ed25519", "signing", "FIPS 186-5"),
    Part("ML-DSA-65", "signing", "FIPS 204"),
)
"""All primitives that the package uses, for whatever, but those of archives."""

ARCHIVED_PARTS = (
    Part("ML-KEM-768", "opening files of versions 1 to 3", "FIPS 203"),
    Part("X25519", "opening files of versions 1 to 3", None),
)
"""What an archive needs besides: only a caller from Python that says so reads one, and it asks for these too."""


def modes() -> dict[str, bool]:
    """Return, for each library that does cryptography, whether it works in FIPS mode; one that cannot tell does not."""
    return {"Python's OpenSSL": _python_mode(), "cryptography's OpenSSL": _cryptography_mode()}


def _python_mode() -> bool:
    try:
        # EVP_default_properties_is_fips_enabled of the library under hashlib and hmac.
        return bool(importlib.import_module("_hashlib").get_fips_mode() == 1)
    except (ImportError, AttributeError, ValueError):
        return False


def _cryptography_mode() -> bool:
    return getattr(default_backend(), "_fips_enabled", False) is True


def require_fips(parts: Sequence[Part] = PARTS, found: dict[str, bool] | None = None) -> None:
    """Refuse unless all libraries work in FIPS mode and all parts are approved.

    Parameters
    ----------
    parts
        What is about to be used; those of today, unless said.
    found
        What :func:`modes` found; it is asked where this is not given.

    Raises
    ------
    NotPermittedError
        ``fips-off`` names the libraries that are not in FIPS mode, ``not-approved`` the parts that no standard
        approves. Where both are so it is ``fips-off``, and the parts are told too.
    """
    off = [name for name, on in (modes() if found is None else found).items() if not on]
    unapproved = [part for part in parts if part.standard is None]
    problems = [f"{name}: not in FIPS mode" for name in off]
    problems += [f"{part.name} ({part.used_for}): not approved" for part in unapproved]
    if problems:
        raise NotPermittedError(
            "the settings ask for FIPS, and what is here is not that",
            reason="fips-off" if off else "not-approved",
            hint="use builds on a validated OpenSSL provider in FIPS mode and parts that are approved; where the law"
            " does not ask for it, set fips = false under [security]",
            problems=problems,
        )
