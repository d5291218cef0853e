"""Models: one family a file. Each gives link-space scores in float64 and keeps only numbers and arrays."""
