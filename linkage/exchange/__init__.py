"""What crosses a boundary: keys, the sealed file, the batch, the person map, the receipt, the ledger.

Nothing else leaves an agency or the hub. The modules :mod:`~linkage.exchange.envelope` (seal, inspect, verify, open
any sealed file) and :mod:`~linkage.exchange.ledger` are used by their names; the rest is here.
"""

from linkage.exchange import envelope, ledger
from linkage.exchange.batch import (
    BatchManifest,
    new_batch_id,
    new_serial,
    open_encodings,
    open_facts,
    read_manifest,
    seal_batch,
    verify_batch,
)
from linkage.exchange.envelope import file_digest
from linkage.exchange.files import atomic_write
from linkage.exchange.keys import (
    LinkageKey,
    Party,
    PublicParty,
    create_linkage_key,
    create_party,
    load_linkage_key,
    load_party,
    load_public,
    renew_party,
)
from linkage.exchange.person_map import (
    PersonMap,
    PersonMapManifest,
    open_person_map,
    read_person_map_manifest,
    seal_person_map,
)
from linkage.exchange.reasons import REASONS
from linkage.exchange.receipt import Receipt, inspect_receipt, read_receipt, write_receipt

__all__ = [
    "REASONS",
    "BatchManifest",
    "LinkageKey",
    "Party",
    "PersonMap",
    "PersonMapManifest",
    "PublicParty",
    "Receipt",
    "atomic_write",
    "create_linkage_key",
    "create_party",
    "envelope",
    "file_digest",
    "inspect_receipt",
    "ledger",
    "load_linkage_key",
    "load_party",
    "load_public",
    "new_batch_id",
    "new_serial",
    "open_encodings",
    "open_facts",
    "open_person_map",
    "read_manifest",
    "read_person_map_manifest",
    "read_receipt",
    "renew_party",
    "seal_batch",
    "seal_person_map",
    "verify_batch",
    "write_receipt",
]
