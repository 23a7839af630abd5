"""Models as dictionaries of arrays, and these in files: one file of states, one of a model, the steps of a training.

What is read may come from anybody: everything is checked before a state is written, and no file runs code.
"""
