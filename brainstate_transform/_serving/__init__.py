"""Compiled functions outside of the process that made them: `export`, and files of several that share states.

The states become ordinary arguments and results, as where a program is loaded there is no model.  Reading order:

- ``avals.py``: shapes and dtypes of what a program takes.
- ``derivatives.py``: how often it can be differentiated.
- ``export.py``: one function as bytes.
- ``program.py``: functions with the states that they share, as they run from a file.
- ``program_file.py``: that file.
"""
