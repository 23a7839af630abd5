"""The arena: how rows are timed, compared, kept and shown.

Read in this order: `claim` (what a row is), `timing` (how candidates take turns), `statistics` (medians, ratios, fitted
exponents), `measure` (from a row to its result), `results` (the JSON file), `table` and `pictures` (what is shown of
it), `command` (the command line of a claim), `machine` (where it was measured), `against` (today's packages beside
older ones).
"""
