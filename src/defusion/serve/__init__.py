"""`defusion serve`: a page for people and a REST interface for programs, over the same functions as the command.

A request passes the guard (`guard.py`) to a route (`app.py`). The route puts uploads into the private folder
(`store.py`) and asks for a job (`jobs.py`). A worker process does it (`workers.py` here, `work.py` there). So the
process that answers never decodes a picture that came from outside.
"""
