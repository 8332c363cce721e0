"""Parts of scripts/endurance.py."""
