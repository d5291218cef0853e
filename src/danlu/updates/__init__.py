"""Updates: what moves a model's parameters, one call at a time."""
