"""Doors to other libraries of record linkage. Each is imported by itself, for what it brings along is heavy."""
