"""What the book's chapters run: training, studies, theory, the Pythia suite, the claims. Nothing outside of the lab imports it."""
