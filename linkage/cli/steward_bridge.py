"""``linkage steward bridge``: pseudonyms that must change, and persons that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts

from linkage.cli.console import open_settings, say, working
from linkage.errors import ContractError
from linkage.exchange.keys import load_party, load_public
from linkage.exchange.site import current_day, source_contract

__all__ = ["bridge"]


def bridge(
    extract: Path,
    *,
    source: str,
    old: Annotated[Path, cyclopts.Parameter(name="--old")],
    settings: Path | None = None,
) -> None:
    """Seal for the hub which pseudonyms became which, after a new party key had to be made (not renewed).

    Parameters
    ----------
    extract
        The extract of the next batch.
    source
        The source's name, such as mpd.
    old
        The private key file before. The one in the settings is the new one.
    settings
        The site's settings file; linkage.toml by default.
    """
    from linkage.steward.bridge import bridge as seal_bridge

    found = open_settings(settings)
    schema, agreement = source_contract(found, source)
    section = found.steward
    if section is None:
        raise ContractError("the settings have no section [steward]", reason="no-section")
    with working("reading, checking and sealing"):
        path, manifest = seal_bridge(
            extract,
            schema=schema,
            agreement=agreement,
            old=load_party(old, archived=True),
            new=load_party(section.party_key),
            hub=load_public(section.hub),
            outbox=section.outbox,
            project=found.project,
            epoch=found.epoch,
            today=current_day(),
        )
    say(f"sealed: {path}")
    say(
        f"  the old and new pseudonyms of {manifest.records} persons; only the hub can open them, and no name is in it."
    )
    say("  once the hub has taken it in, destroy the old key: nothing else needs it.")
