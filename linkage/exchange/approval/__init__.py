"""What only approved runs open: the opening key in shares, run orders and their approvals."""
