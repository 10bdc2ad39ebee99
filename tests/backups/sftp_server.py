"""An SSH server with SFTP and nothing else, as a process of its own: `python -m tests.backups.sftp_server FOLDER`.

Lets in `backup` with a password, prints the port of loopback that it chose. Like a provider's: rooted at the folder.
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh

USER, PASSWORD = "backup", "open sesame"


class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


async def _serve(folder: str) -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder.encode()),
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
