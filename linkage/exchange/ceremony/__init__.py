"""The key ceremony: agencies make a linkage key together that none of them chose (``schemas/ceremony.md``)."""
