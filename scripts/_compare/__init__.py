"""Library part of scripts/compare.py."""
