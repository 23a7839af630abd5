"""Optimizers, averages, metrics, penalties and precision, put beside a model to train it.

Each is a node or a value of its own. None of them knows a layer.
"""
