"""What the project claims about its speed, measured on the reader's machine: ``python -m benchmarks.engine``."""
