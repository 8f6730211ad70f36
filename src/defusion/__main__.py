"""`python -m defusion` is the `defusion` command."""

from defusion.cli import main

main()
