"""How users name the states that a transform is to treat in its way."""
