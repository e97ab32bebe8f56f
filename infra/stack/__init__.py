"""The services of compose.yaml as plain processes on one machine: `make stack`."""
