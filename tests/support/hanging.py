"""A file system that does not answer, as one whose server is gone: whoever looks into it waits until it is taken away."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MNT_DETACH = 2


@contextmanager
def hanging(directory: Path) -> Iterator[None]:
    """Whatever touches *directory* waits for the end of the context; then it is what it was. (A file system in user space of
    which nobody is the server; who waits for it gets an error when its device is closed.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"needs to be root, and file systems in user space ({error})")
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"hanging", os.fsencode(directory), b"fuse", 0, options):
            pytest.skip(f"no file system can be mounted here ({os.strerror(ctypes.get_errno())})")
        try:
            yield
        finally:
            libc.umount2(os.fsencode(directory), _MNT_DETACH)
    finally:
        os.close(device)
