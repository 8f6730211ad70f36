"""Two clips of one scene, thermal and visible, fused into one: frames matched by time, without flicker."""

from __future__ import annotations

from defusion.video.live import Live
from defusion.video.run import FusedVideo, fuse_video

__all__ = ["FusedVideo", "Live", "fuse_video"]
