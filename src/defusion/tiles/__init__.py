"""Scenes of any size and any number of sources, fused part by part in bounded memory."""
