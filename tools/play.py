#!/usr/bin/env python3
"""`metta play`; see `./tools/play.py --help`."""

from door import enter

enter("play")
