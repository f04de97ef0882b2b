"""``linkage hub bridge``: an agency's pseudonyms have changed, and its persons stay."""

from __future__ import annotations

from pathlib import Path

from linkage.cli.console import open_settings, say
from linkage.exchange.site import open_hub

__all__ = ["bridge"]


def bridge(file: Path, *, settings: Path | None = None) -> None:
    """Take in which pseudonyms of an agency became which; before the first run with its new ones.

    Parameters
    ----------
    file
        The agency's bridge file. Destroy it afterwards, here and on its way.
    settings
        The site's settings file; linkage.toml by default.
    """
    from linkage.hub.bridge import take_in_bridge
    from linkage.hub.state import StateFolder

    site = open_hub(open_settings(settings))
    manifest, renamed = take_in_bridge(
        file,
        folder=StateFolder(site.state),
        hub=site.party,
        senders=site.senders,
        project=site.project,
        epoch=site.epoch,
    )
    say(f"taken in: {manifest.source}, {renamed} of {manifest.records} records have new pseudonyms and keep their ids")
