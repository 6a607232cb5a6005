"""What a section tells the sessions of its movers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trollmoves.config.moves import MoveSettings
from trollmoves.config.settings import ServerSettings
from trollmoves.config.targets import TargetSettings
from trollmoves.movers.bandwidth import of_this_process
from trollmoves.movers.base import SessionSettings


def session_settings(section: ServerSettings | MoveSettings | TargetSettings, parameters: Mapping[str, Any], *,
                     link: bool = False) -> SessionSettings:
    """What sessions of *section* go by, with the *parameters* of their mover. Its limit of bytes per second holds from now on."""
    bandwidth = of_this_process()
    bandwidth.limit(section.name, section.bandwidth_per_host)
    return SessionSettings(
        connect_timeout=section.connect_timeout, stall_timeout=section.stall_timeout,
        connection_uptime=float(parameters.get("connection_uptime", 30.0)),
        directory_mode=section.directory_mode if section.directory_mode is not None else 0o777,
        file_mode=section.file_mode, checksum=section.checksum, bandwidth=bandwidth, section=section.name,
        parameters={**parameters, **({"link": True} if link else {})})
