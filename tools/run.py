#!/usr/bin/env python3
"""`metta run`; see `./tools/run.py --help`."""

from door import enter

enter("run")
