"""Runs that are killed with `kill -9`: worker, scheduler and driver, in every stage, on every kind of store. `python -m tests.kills`."""
