"""Watchers: they look on, record, may ask to stop, and never change the model."""
