"""``python -m linkage``: the command line, where the program ``linkage`` is not on the path."""

from __future__ import annotations

import sys

from linkage.cli import main

if __name__ == "__main__":
    sys.exit(main())
