"""Files that are complete or absent, locks of folders, and errors of files."""
