"""A log that cannot be written is told of in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.programs import CHECKOUT, clean_environment

PROGRAM = """
import errno, io, logging, os, sys
from pathlib import Path
from trollmoves.cli.common import set_up_logging

class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

set_up_logging(None, Path(sys.argv[1]))
logging.getLogger().handlers[0].setStream(Full())
for number in range(100):
    logging.error("number %d", number)
"""


def test_a_log_on_a_full_disk_is_told_of_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "log"], capture_output=True, text=True, timeout=60,
                          check=True, env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
    assert done.stderr == f"{tmp_path}/log cannot be written: No space left on device; what is logged meanwhile is lost\n"
