"""Readers of what happens."""
