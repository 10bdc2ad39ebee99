"""The socket files of a data folder."""

from __future__ import annotations

from control_plane.config import Config


def remove_sockets(config: Config, *, keep_instances: bool = False) -> None:
    """Remove the socket files of what has ended; with `keep_instances` not those of instances, which may run on."""
    sockets = [config.activator_socket, config.litestream_socket, config.run_dir / "waking.sock"]
    if not keep_instances:
        sockets += [*config.edge_dir.glob("*.sock"), *config.sockets_dir.glob("*/own.sock")]
    for path in sockets:
        path.unlink(missing_ok=True)
