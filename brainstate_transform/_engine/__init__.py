"""The recipe on which every transform stands: capture, core, lift."""
