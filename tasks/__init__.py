"""Each stage as a Prefect task: a name, retries, logs, artifacts. The work is in `trunkline`; the truth is in the store."""
