"""`check_transform`: the laws that every transform keeps, ours and those of others.

Reading order:

- ``trial.py``: small models, and comparisons with plain Python.
- ``laws_of_errors.py``, ``laws.py``: the laws.
- ``check.py``: runs a transform through them.
"""
