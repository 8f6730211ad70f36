"""`defusion serve`: a page for people and a REST interface for programs. Both use the functions that the command
uses.

A request passes the guard (`guard.py`) and reaches a route (`app.py`). The route writes uploads to the private folder
(`store.py`) and starts a job (`jobs.py`). A worker process runs the job (`workers.py` is the service's side,
`work.py` the worker's). So the process that answers never decodes an uploaded picture.
"""
