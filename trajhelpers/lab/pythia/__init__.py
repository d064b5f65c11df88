"""The Pythia suite, and the parts of a GPT-NeoX network."""
