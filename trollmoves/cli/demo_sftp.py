"""An SFTP server on this machine for a demonstration: `python -m trollmoves.cli.demo_sftp PORT KEYS`.

It makes the directory KEYS with the key of a client (`client_key`) and its own (in `known_hosts`), lets only that client in,
and ends with SIGTERM. Whoever has the key can do there what the user who started it can.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

HOST = "127.0.0.1"


async def serve(port: int, keys: Path) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    import asyncssh
    keys.mkdir(mode=0o700, exist_ok=True)
    host_key, client_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    with open(keys / "client_key", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(client_key.export_private_key())
    (keys / "known_hosts").write_bytes(f"[{HOST}]:{port} ".encode() + host_key.export_public_key())
    (keys / "authorized_keys").write_bytes(client_key.export_public_key())
    server = await asyncssh.listen(HOST, port, server_host_keys=[host_key], sftp_factory=True, allow_scp=False,
                                   authorized_client_keys=str(keys / "authorized_keys"), password_auth=False)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"listens on port {port}", flush=True)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
