"""`python -m headrace.cli`, where the `headrace` script is not installed."""

from headrace.cli.root import main

main()
