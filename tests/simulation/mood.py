"""What a history is about: most are about everything, some look closely at what seldom comes together by chance."""

from __future__ import annotations

from enum import Enum


class Mood(Enum):
    EVERYTHING = "everything"
    BAD_DISKS = "bad disks"  # folders and replicas are lost, tenants restored
    LOST_PLANES = "lost planes"  # the control plane's database is lost, keys change, tenants are restored
    BUSY_AND_IDLE = "busy and idle"  # calls in bursts, naps and sleep between them


def mood_of(seed: int) -> Mood:
    """Half of the seeds are about everything."""
    return (Mood.BAD_DISKS, Mood.LOST_PLANES, Mood.BUSY_AND_IDLE, *[Mood.EVERYTHING] * 3)[seed % 6]
