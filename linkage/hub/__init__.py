"""The hub's wing. It sees encodings: never a linkage key, a name, or a fact about a person."""

from linkage.hub.link import Linked, link

__all__ = ["Linked", "link"]
