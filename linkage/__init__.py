"""Deduplicated prevalence across agencies without raw identifiers leaving any of them."""

__version__ = "0.1.0"
