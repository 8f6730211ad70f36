"""Scenes: sources made ready for the network, and its result made ready for a file."""
