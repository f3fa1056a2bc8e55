"""`python -m metta.cli`: the same as `metta`."""

from __future__ import annotations

import sys

from metta.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
