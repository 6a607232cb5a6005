"""What a section may ask for that this release cannot do: better no chain than one that does something else."""

from __future__ import annotations

from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings


def not_built_yet(settings: ChainSettings) -> str:
    """What to say of a section that cannot run yet, empty when it can."""
    if isinstance(settings, ClientSettings):
        if settings.compression is not None and settings.destination.reveal().lower().startswith("s3:"):
            return "`compression` needs a destination this machine can read as files, and s3 is none; leave `compression` out"
        return ""
    if not isinstance(settings, ServerSettings):
        return ""
    if settings.listen is not None:
        return "`listen` (announcing other publishers' messages) comes with a later release; watch a directory with `origin`"
    if settings.request_port is None:
        return "chains without `request_port` come with a later release; set request_port = 9094, for example"
    if settings.unpack is not None:
        return "`unpack` is for chains without `request_port`, which come with a later release; leave it out"
    return ""
