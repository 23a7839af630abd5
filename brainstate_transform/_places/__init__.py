"""What the program of a function depends on, found by reading the function: one reading, for all who ask.

Read in this order:

- ``places.py``: places, and what a trace has shown of them.
- ``question.py``: the question of each call, whether they still hold the same.
- ``code.py``: what a piece of code names.
- ``capture.py``: from a function along the names to models, values and other functions.
- ``attributes.py``: attributes, of which those are followed that the code names.
- ``findings.py``: what was found, and the tests whether it would be found again.
- ``values.py``: which things are compared, and how.
- ``objects.py``: what functions, objects and classes have.
- ``owners.py``, ``weak_method.py``: whom a thing belongs to; methods that keep nothing alive.
"""
