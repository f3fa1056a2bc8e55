#!/usr/bin/env python3
"""`metta replay`; see `./tools/replay.py --help`."""

from door import enter

enter("replay")
