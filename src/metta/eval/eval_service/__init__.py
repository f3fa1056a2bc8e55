"""The evaluation service: takes requests over HTTP, plays them in worker processes or on Ray, keeps every result.

Nothing imports this folder but the verbs `metta local eval-service` and `metta request-eval`. A request is one policy
and one suite; each simulation of the suite is one unit of work. `store.py` holds what must survive, `dispatcher.py`
plays it, `app.py` answers. What needs the extra `metta[service]` is imported where it is used.
"""
