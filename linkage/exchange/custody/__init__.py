"""How secrets are kept and ended: protected key files, shares on paper, overwriting, certificates of destruction."""
