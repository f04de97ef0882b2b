"""The analysis wing: facts and counts in, tables and estimates out. It never sees names, keys or encodings."""

from linkage.research.estimate import estimate

__all__ = ["estimate"]
