"""The floors of tfbn, from the ground up.

A module or package imports only from the lists above its own, or within itself. BUILD
makes one library of each, and tests/architecture_test.py holds the imports to it.
"""

FLOORS = [
    ["_compat", "_scopes", "validation", "version"],
    ["dtype_policies", "environment", "files", "options", "schedules", "tables"],
    ["ops", "registry"],
    ["layers"],
    ["data", "loading", "models", "surgery"],
    ["diagnostics"],
    ["calibration", "recording"],
    ["_diagnose", "callbacks", "plots"],
    ["training"],
    ["experiment"],
    ["commands", "reproduction"],
]
