"""Compiled functions as bytes and files."""
