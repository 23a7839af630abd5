"""State trees, the values of a graph by path, and the filters that choose among them."""
