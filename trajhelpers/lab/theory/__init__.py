"""What can be said without training: quadratics, and the law of width."""
