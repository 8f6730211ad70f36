"""The `defusion` command. Results go to stdout, messages to stderr."""

from defusion.cli import align, batch, evaluation, models, pictures, serve, video  # noqa: F401  (each adds its commands)
from defusion.cli.app import app, main

__all__ = ["app", "main"]
