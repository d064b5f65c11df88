"""The studies: their recipes, how they are run, read, compared and drawn."""
