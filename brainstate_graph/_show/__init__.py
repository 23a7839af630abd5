"""How nodes, states and trees look, as text, as a page, as a drawing."""
