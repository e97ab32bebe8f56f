"""Running trunkline for real: containers, Kubernetes, and a stack of plain processes."""
