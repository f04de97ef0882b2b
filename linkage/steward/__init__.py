"""An agency's wing: sees names, and what leaves it sees none."""
