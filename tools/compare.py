#!/usr/bin/env python3
"""`metta compare`; see `./tools/compare.py --help`."""

from door import enter

enter("compare")
