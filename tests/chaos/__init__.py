"""Misfortunes of a whole service under steady calls: `python -m tests.chaos --help`."""
