"""Running trials: the worker's side of the warm runner.

Standard library and psutil; torch is never imported here. `service.WarmService` keeps a slot's warm process;
`warm.WarmRunner` sends it requests; `cold.ColdRunner` does the same without one; `collect` turns what the
ranks wrote into a `Trial`.
"""
