"""A store, and a dictionary that says what must be in it: both go through the same operations."""
