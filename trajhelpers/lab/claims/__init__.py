"""Every finding of the paper against our runs."""
