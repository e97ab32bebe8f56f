"""`make bench`: ways from image files to features, measured side by side on the same files in one run."""
