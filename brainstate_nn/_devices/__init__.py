"""Models over several devices and processes: rules for where each array lies, and the moves that follow from them."""
