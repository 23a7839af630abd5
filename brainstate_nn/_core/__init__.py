"""Module, kinds of state, random streams and parameters: the room that all others use.

Nothing here knows a layer. The files at the bottom are words of the trade: dtypes, paths, arrays on a mesh.
"""
