"""Fuses a thermal and a visible clip of one scene: frames are matched by time, and the result does not flicker."""

from __future__ import annotations

from defusion.video.live import Live
from defusion.video.run import FusedVideo, fuse_video

__all__ = ["FusedVideo", "Live", "fuse_video"]
