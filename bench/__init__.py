"""What is measured, each beside a baseline in the same run. `python -m bench` runs all; each module runs alone."""
