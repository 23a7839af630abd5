"""What a graph is and how it is taken apart: nodes, states, the door to their values, GraphDefs."""
