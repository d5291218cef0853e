"""What to do, and nothing else: the recipe, its names and how they become objects."""
