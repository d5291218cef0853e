"""Data: where tables come from, what their columns are, how rows are divided and become numbers."""
