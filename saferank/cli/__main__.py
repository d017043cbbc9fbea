"""``python -m saferank.cli``."""

from saferank.cli import main

main()
