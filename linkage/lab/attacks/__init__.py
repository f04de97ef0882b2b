"""Attacks on one's own encodings, each shown to work on an unprotected one in the same trials."""

from linkage.lab.attacks.page import page
from linkage.lab.attacks.people import People, read_people
from linkage.lab.attacks.registry import ATTACKS, Attack
from linkage.lab.attacks.run import attack

__all__ = ["ATTACKS", "Attack", "People", "attack", "page", "read_people"]
