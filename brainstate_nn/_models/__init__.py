"""What is done with a whole model: modes, hidden states, surgery."""
