#!/usr/bin/env python3
"""`metta analyze`; see `./tools/analyze.py --help`."""

from door import enter

enter("analyze")
