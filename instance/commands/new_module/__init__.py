"""A package for a module of one's own, written to be filled in: `stockyard modules new NAME`."""
