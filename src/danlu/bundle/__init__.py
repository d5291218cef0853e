"""The bundle: one file of data that holds everything a prediction needs, and nothing that can run."""
