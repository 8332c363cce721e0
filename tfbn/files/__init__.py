"""Files: replaced as a whole, locked, and their errors told in one line."""
