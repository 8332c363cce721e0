"""What scripts/ahead_of_time.py compiles, and how."""
