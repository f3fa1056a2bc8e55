#!/usr/bin/env python3
"""`metta request-eval`; see `./tools/request_eval.py --help`."""

from door import enter

enter("request_eval")
