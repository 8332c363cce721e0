"""The sections of scripts/benchmark.py, one a module, and what they share."""
