"""`stockyard-cloud up`: the whole service on one machine, watched over by one process."""

from control_plane.supervisor.up import run_up

__all__ = ["run_up"]
