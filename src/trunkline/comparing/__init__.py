"""Two runs side by side: what their records say, and what differs."""
