"""The recipe of every transform: split what a call touches, run a pure core through JAX, write what came back.

Read in this order, in one sitting:

- ``lift.py``, ``lifted.py``: the call, from the user's arguments to the states that are written; what is called.
- ``core.py``: the pure function that JAX gets.
- ``touched.py``: the touched graph of a call, and the states of it that a program is passed.  How it is found, from
  the names in a function, is the matter of the room `_places`.
- ``values.py``, ``placeholders.py``, ``results.py``: what crosses into JAX and back: values of states; nodes and static
  arguments; nodes in results.
- ``changes.py``: what becomes of an attribute that the function sets, of a list that it fills.
- ``retry.py``: a trace that cannot be kept, and why.
- ``ahead.py``: a function is traced to know what it writes, for loops and branches.
- ``user_function.py``, ``lost.py``, ``errors.py``: names and errors.
"""
