"""Nodes, states, the door to their values, and the shape of the graph that they make.

It knows neither trees, filters, display nor files: those stand above it and register themselves.

Read in this order, in one sitting:

- ``clock.py``, ``node.py``, ``fields.py``: objects whose attributes are edges, and when those changed.
- ``state.py``: the one thing that changes.
- ``overlay.py``, ``door.py``: where values are while a function is traced, and how they are found and assigned;
  ``journal.py`` for the attributes that it sets.
- ``values.py``, ``hooks.py``: what a value must be like; who is told of it.
- ``static.py``: what is part of a program, and not of its data.
- ``layout.py``, ``graphdef.py``: paths, and the table that a graph becomes.
- ``flatten.py``, ``unflatten.py``: from objects to that table, and back; ``pattern.py`` for nodes that look alike,
  ``foreign.py`` for classes that are not ours.
- ``snapshot.py``, ``watch.py``: a graph that was taken apart once, and whether that is still true.
- ``locate.py``, ``errors.py``: where an object is, for messages.
"""
