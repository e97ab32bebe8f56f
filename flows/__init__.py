"""Prefect flows: they wire tasks, nothing else."""
