"""``linkage hub retire`` and ``forget``: what the hub must not keep any longer."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import Annotated

import cyclopts

from linkage.cli.console import open_settings, print_json, say
from linkage.errors import NO_SUCH_FILE, ContractError
from linkage.exchange.site import open_hub

__all__ = ["forget", "retire"]

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


def retire(
    epoch: str,
    *,
    runs: Annotated[list[Path] | None, cyclopts.Parameter(name="--runs", consume_multiple=True)] = None,
    settings: Path | None = None,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Destroy what is left of an earlier epoch's encodings, with a signed certificate; after the bridge run.

    Files are overwritten and removed. Flash storage, snapshots and backups may keep what a program cannot reach: what
    is there stays sealed, and closed for ever once what opens it is gone: the hub's old key, or, where the opening key
    is in shares, the holders' old party keys, all but fewer than the threshold (linkage keys renew, keys destroy).

    Parameters
    ----------
    epoch
        The epoch to retire, such as 2026-1; never the present one.
    runs
        Folders that were --out of linkage hub link; those of the monthly flow are found without.
    settings
        The site's settings file; linkage.toml by default.
    json
        Write JSON to stdout instead of words.
    """
    from linkage.hub.retire import retire as retire_epoch
    from linkage.hub.state import StateFolder

    site = open_hub(open_settings(settings))
    for place in runs or ():
        if not place.is_dir():
            raise ContractError(f"{place}: no folder of runs here", reason="unreadable", hint=NO_SUCH_FILE)
    folder = StateFolder(site.state)
    done = retire_epoch(epoch, folder=folder, hub=site.party, project=site.project, present=site.epoch, runs=runs or ())
    if json:
        facts = {"certificate": str(done.certificate), "files": done.files, **done.destruction.model_dump()}
        print_json(json_module.dumps(facts, indent=2))
        return
    say(f"epoch {epoch} is retired: {len(done.destruction.destroyed)} batches destroyed, {done.files} files just now")
    if done.destruction.missing:
        say(f"{len(done.destruction.missing)} batches were not there any more: find out where they went")
    say(f"certificate, for the agencies: {done.certificate}")
    say("copies elsewhere stay closed once the keys that open them are gone: linkage keys renew, then keys destroy")
    say("  that is the hub's old key; with an opening key in shares, the old party key of each holder")


def forget(
    source: str,
    file: Path | None = None,
    *,
    everything: Annotated[bool, cyclopts.Parameter(name="--all", negative=())] = False,
    settings: Path | None = None,
) -> None:
    """Forget records in the register of persons: those withdrawn for good, or all of a source.

    First the agency takes them out of its batches: what is in a batch comes back at the next run, under a new id.

    Parameters
    ----------
    source
        Whose records.
    file
        A text file with one pseudonym a line.
    everything
        All records of the source; then without a file.
    settings
        The site's settings file; linkage.toml by default.
    """
    from linkage.hub.register import forget_records
    from linkage.hub.state import StateFolder

    if (file is None) is not everything:
        raise ContractError(
            "say which records to forget: a file of pseudonyms, or --all", reason="usage", hint="not both of them"
        )
    pseudonyms = None if file is None else _pseudonyms(file)
    site = open_hub(open_settings(settings))
    folder = StateFolder(site.state)
    with folder.locked():
        forgotten = forget_records(folder, site.party, source, pseudonyms)
    say(f"records forgotten: {forgotten}")


def _pseudonyms(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="ascii").split()
    except OSError:
        raise ContractError(f"{file}: no file that can be read", reason="unreadable", hint=NO_SUCH_FILE) from None
    except UnicodeDecodeError:
        lines = [""]
    if not all(_PSEUDONYM.fullmatch(line) for line in lines):
        raise ContractError(
            f"{file}: not a list of pseudonyms", reason="malformed", hint="32 lower-case hex characters a line"
        )
    return lines
