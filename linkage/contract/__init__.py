"""What all parties agree on: vocabularies, source schemas, linkage specs, agreements, the release policy."""

from linkage.contract.agreement import Agreement, ReleasePolicy, Scope
from linkage.contract.files import load_agreement, load_policy, load_source, load_spec, schemas_folder
from linkage.contract.settings import Settings, find_settings, load_settings
from linkage.contract.source import SourceSchema
from linkage.contract.spec import LinkageSpec

__all__ = [
    "Agreement",
    "LinkageSpec",
    "ReleasePolicy",
    "Scope",
    "Settings",
    "SourceSchema",
    "find_settings",
    "load_agreement",
    "load_policy",
    "load_settings",
    "load_source",
    "load_spec",
    "schemas_folder",
]
