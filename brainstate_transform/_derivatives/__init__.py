"""Derivatives by states and arguments: gradients, Jacobians, products, rules of one's own, and `checkpoint`.

Each is a JAX derivative of a pure function whose variables are the chosen states and arguments; all that the user's
function does besides rides along.  Reading order:

- ``differentiated.py``: what a derivative is with respect to, the pure function that JAX gets, and `differentiate`,
  which lifts every derivative below.
- ``grad.py``, ``jacobian.py``, ``linear.py``: the derivatives, by what they return.
- ``tangents.py``, ``custom_call.py``, ``custom.py``: derivatives by a rule of the user's.
- ``checkpoint.py``: what the backward pass computes again.
"""
