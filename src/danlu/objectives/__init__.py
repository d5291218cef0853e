"""Objectives: scores into a loss while training, and into a prediction afterwards."""
