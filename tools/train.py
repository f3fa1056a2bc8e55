#!/usr/bin/env python3
"""`metta train`; see `./tools/train.py --help`."""

from door import enter

enter("train")
