"""The workers: the Celery task, the plan of a preflight, its fixes and its report. No torch outside `train`.

`python -m hotfire_workers` starts a worker. `hotfire_workers.preflight.run_preflight` does the same for one spec
with any runner and any sink: no Celery, no Redis.
"""
