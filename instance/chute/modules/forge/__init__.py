"""Modules that call models in other ways than once."""
