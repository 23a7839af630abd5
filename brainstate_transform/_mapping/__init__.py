"""One value per lane or shard: `vmap` and `shard_map`.

Both run a function once for many lanes.  A state is *mapped*, with a value of its own in each lane, or *shared* by all.
Reading order:

- ``lane_axes.py``: which axes of a state stand for lanes.
- ``lanes.py``: kinds of state that differ per lane though they are shared, as random streams do.
- ``per_state.py``: the axis or PartitionSpec of each state, before and after.
- ``prefix.py``: those of arguments and results.
- ``modules.py``: those of modules among these, which are those of their states.
- ``spread_lanes.py``, ``vmap.py`` and ``new_states.py``: lanes along an axis of arrays.
- ``in_lanes.py``: a function in the lanes that states have already.
- ``mesh_axes.py``, ``shared.py`` and ``shard_map.py``: lanes on the devices of a mesh.
"""
