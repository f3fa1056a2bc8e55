#!/usr/bin/env python3
"""`metta evaluate`; see `./tools/sim.py --help`."""

from door import enter

enter("sim")
