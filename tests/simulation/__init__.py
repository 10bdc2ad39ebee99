"""The reconciler in a world of its own: one seed, one history; see `invariants.py` for what must hold in all of them."""
