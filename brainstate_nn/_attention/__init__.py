"""Attention: the layer, what its queries may see, where positions stand, and what it remembers of them.

It is made of layers, and on one line with what trains them and with recurrent cells, which do not know it.
"""
