"""What a chain without `request_port` says of a file: how it can be fetched from this machine by ssh, in fsspec's terms.

The messages are those of pytroll-collectors, with one key more: `path`, the path of the file in its filesystem. They are written
by hand, so that nobody needs fsspec to say where a file is. There are never credentials in them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

SSH = "fsspec.implementations.sftp.SFTPFileSystem"
ARCHIVES = {"tar": "fsspec.implementations.tar:TarFileSystem", "zip": "fsspec.implementations.zip:ZipFileSystem"}
OWN = ("filesystem", "uri", "uid", "path", "dataset")
"""Keys that metadata must not change: by them the file is found."""


def described(path: str, kind: str | None, members: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The type of the message and what it says of the file at *path*; of an archive of this *kind* (tar, zip), of its members."""
    host = socket.gethostname()
    if kind is None or not members:
        uri = f"ssh://{host}{path}"
        return "file", {"filesystem": {"cls": SSH, "args": [], "host": host, "protocol": "ssh"}, "uri": uri, "uid": uri,
                        "path": path}
    return "dataset", {"dataset": [_member(host, path, kind, member) for member in members]}


def _member(host: str, path: str, kind: str, member: str) -> dict[str, Any]:
    filesystem = {"cls": ARCHIVES[kind], "protocol": kind, "args": [], "fo": path, "target_protocol": "ssh",
                  "target_options": {"host": host}}
    uid = f"{kind}://{member}"
    return {"filesystem": filesystem, "uri": f"{uid}::ssh://{host}{path}", "uid": uid, "path": member}
