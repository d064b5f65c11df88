"""A running training → checkpoints: when, of what, and by which process."""
