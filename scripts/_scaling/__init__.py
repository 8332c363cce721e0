"""Parts of scripts/scaling.py."""
