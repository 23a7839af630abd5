"""Layers, one family a file, which read and write states when they are called and know nothing of what trains them.

Those that remember from step to step are in `_recurrent`.
"""
