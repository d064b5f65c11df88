"""The Hugging Face hub: a repository with a checkpoint a revision, read by ranges of bytes."""
