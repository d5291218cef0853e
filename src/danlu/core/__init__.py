"""The foundation: five ideas, one loop, errors, findings, seeds, files, clocks. Imports nothing else of danlu."""
