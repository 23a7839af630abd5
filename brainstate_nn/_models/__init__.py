"""Verbs for a whole model, whatever layers it has: its mode, its hidden states, surgery, captured results."""
