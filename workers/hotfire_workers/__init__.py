"""The workers: the Celery task, the plan of a preflight, its fixes and its report. No torch outside `train`."""
