"""How time and memory grow with the number of rows, with a backbone and images that cost next to nothing."""
