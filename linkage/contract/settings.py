"""Settings of one site: ``linkage.toml``. Paths to key files, never a secret."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from linkage.contract.files import invalid, read_text
from linkage.contract.vocabulary import Name
from linkage.errors import ContractError

__all__ = ["AnalysisSettings", "HubSettings", "Settings", "StewardSettings", "find_settings", "load_settings"]


def _beside(value: object, info: ValidationInfo) -> object:
    base = (info.context or {}).get("folder")
    return Path(base) / value if isinstance(value, str) and base is not None else value


SitePath = Annotated[Path, BeforeValidator(_beside)]
"""A path; a relative one counts from the folder of the settings file."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StewardSettings(_Strict):
    """What an agency's machine needs: its own keys, the linkage key, and whom it seals for."""

    source: Name
    schema_file: SitePath | None = None
    agreement: SitePath
    linkage_key: SitePath
    party_key: SitePath
    hub: SitePath
    analysis: SitePath
    outbox: SitePath


class HubSettings(_Strict):
    """What the hub needs: its own key, the agencies it trusts, and whom it seals the person map for."""

    party_key: SitePath
    senders: dict[Name, SitePath]
    agreements: dict[Name, SitePath]
    analysis: SitePath
    inbox: SitePath
    state: SitePath


class AnalysisSettings(_Strict):
    """What the analysis enclave needs: its own key, the hub's and the agencies' public keys, the policy."""

    party_key: SitePath
    hub: SitePath
    senders: dict[Name, SitePath]
    agreements: dict[Name, SitePath]
    policy: SitePath
    state: SitePath
    releases: SitePath


class Settings(_Strict):
    """One site. A small site may run hub and analysis on one host: two sections, two keys."""

    project: Name
    epoch: str
    profile: Name
    spec_file: SitePath | None = None
    steward: StewardSettings | None = None
    hub: HubSettings | None = None
    analysis: AnalysisSettings | None = None


def find_settings(given: Path | None) -> Path:
    """Return the settings file: the one given, else the environment's ``LINKAGE_SETTINGS``, else ``./linkage.toml``."""
    path = given or Path(os.environ.get("LINKAGE_SETTINGS", "linkage.toml"))
    if not path.is_file():
        raise ContractError(
            f"{path}: no settings file here",
            reason="no-settings",
            hint="name one with --settings, or run the command in the folder that holds linkage.toml",
        )
    return path


def load_settings(path: Path) -> Settings:
    """Read and check a settings file; relative paths in it count from its own folder."""
    text = read_text(path, "utf-8-sig")  # editors on Windows put a byte order mark, which TOML does not know
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))  # of the parser's message only the place: it may quote the file
        raise ContractError(
            f"{path}: not a TOML file{f', see line {line[1]}' if line else ''}",
            reason="malformed",
            hint="write paths with / also on Windows, and close every quote",
        ) from None
    try:
        return Settings.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise invalid(path, error) from None
