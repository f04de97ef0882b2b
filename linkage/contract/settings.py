"""Settings of one site: ``linkage.toml``. Paths to key files, never a secret."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from linkage.contract.files import invalid, read_text
from linkage.contract.fips import require_fips
from linkage.contract.vocabulary import Name
from linkage.errors import ContractError

__all__ = [
    "AnalysisSettings",
    "ClusterSettings",
    "HubSettings",
    "SecuritySettings",
    "Settings",
    "StewardSettings",
    "find_settings",
    "load_settings",
]


def _beside(value: object, info: ValidationInfo) -> object:
    base = (info.context or {}).get("folder")
    return Path(base) / value if isinstance(value, str) and base is not None else value


SitePath = Annotated[Path, BeforeValidator(_beside)]
"""A path; a relative one counts from the folder of the settings file."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecuritySettings(_Strict):
    """What the site's law asks of its cryptography.

    With ``fips`` nothing is done at all unless the libraries work in FIPS mode and every part is approved.
    """

    fips: Annotated[bool, Field(strict=True)] = False


class StewardSettings(_Strict):
    """What an agency's machine needs: its own keys, the linkage key, and whom it seals for.

    ``opening`` is the public side of the hub's opening key in shares; needed unless the agreement says otherwise.
    ``decoys`` are made-up records that are sent along: a share of the persons (``0.25``) or a number (``50``).
    """

    source: Name
    schema_file: SitePath | None = None
    agreement: SitePath
    linkage_key: SitePath
    party_key: SitePath
    hub: SitePath
    analysis: SitePath
    outbox: SitePath
    opening: SitePath | None = None
    decoys: Annotated[float, Field(gt=0, le=1, strict=True)] | Annotated[int, Field(ge=1, strict=True)] | None = None


class HolderSettings(_Strict):
    """What a holder of the hub's opening key needs who is no agency; an agency has all of it under ``[steward]``."""

    party_key: SitePath
    hub: SitePath
    analysis: SitePath
    opening: SitePath
    outbox: SitePath


_HOST = r"(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)"
_SCHEDULER = re.compile(rf"(?P<way>tcp|tls)://{_HOST}:\d{{1,5}}")
_SERVER = re.compile(rf"(?P<way>https?)://{_HOST}(:\d{{1,5}})?/api")


class ClusterSettings(_Strict):
    """A cluster that compares for the hub: its scheduler, shared folder, certificates, and Prefect server.

    Beyond this host a scheduler is spoken to under TLS alone: whoever reaches it can run programs on its workers. And
    its workers have a Prefect server of their own: whoever reaches the hub's can have the hub run a program.
    """

    scheduler: str
    shared_folder: SitePath
    shards: int = Field(default=64, ge=1, le=10_000)
    ca_file: SitePath | None = None
    cert_file: SitePath | None = None
    key_file: SitePath | None = None
    server: str | None = None

    @model_validator(mode="after")
    def _own_server(self) -> Self:
        if self.server is None:
            if self.scheduler.startswith("tls://"):
                raise ValueError(".server: a cluster has a Prefect server of its own: http://127.0.0.1:4201/api")
            return self
        found = _SERVER.fullmatch(self.server)
        if found is None or (found["way"] == "http" and not _is_loopback(found["host"])):
            raise ValueError(".server: should be http://127.0.0.1:port/api, or https://host/api")
        return self

    @model_validator(mode="after")
    def _under_tls(self) -> Self:
        found = _SCHEDULER.fullmatch(self.scheduler)
        if found is None:
            raise ValueError(".scheduler: should be tls://host:port, or tcp://127.0.0.1:port on this host")
        files = [self.ca_file, self.cert_file, self.key_file]
        if found["way"] == "tcp":
            if not _is_loopback(found["host"]):
                raise ValueError(".scheduler: beyond this host only under TLS: tls://host:port")
            if any(files):
                raise ValueError(".scheduler: certificates are used with tls://host:port alone")
        elif not all(files):
            raise ValueError(".scheduler: TLS takes ca_file, cert_file and key_file")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class HubSettings(_Strict):
    """What the hub needs: its own key, the agencies it trusts, and whom it seals the person map for.

    ``opening`` is the public side of its opening key in shares and ``holders`` the public keys of those who hold them;
    both are needed unless all agreements say otherwise. ``cost`` is that of a false link in missed ones; without it
    pairs are linked so that F1 is expected to be greatest.
    """

    party_key: SitePath
    senders: dict[Name, SitePath]
    agreements: dict[Name, SitePath]
    analysis: SitePath
    inbox: SitePath
    state: SitePath
    opening: SitePath | None = None
    holders: dict[Name, SitePath] = {}
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    cluster: ClusterSettings | None = None


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
    security: SecuritySettings = SecuritySettings()
    steward: StewardSettings | None = None
    holder: HolderSettings | None = None
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
    """Read and check a settings file; relative paths in it count from its own folder.

    Raises
    ------
    ContractError
        If the file is not there, or not what it should be.
    NotPermittedError
        ``fips-off`` or ``not-approved`` if the site asks for FIPS and this is not it.
    """
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
        settings = Settings.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise invalid(path, error) from None
    if settings.security.fips:
        require_fips()
    return settings
