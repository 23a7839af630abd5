"""`jit`, and what stands on compiled programs."""
