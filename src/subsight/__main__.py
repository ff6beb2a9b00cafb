"""`python -m subsight`."""

from subsight.surfaces.cli import main

main()
