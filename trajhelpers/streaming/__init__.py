"""From blocks of parameters to sums of products: the only room that touches p numbers."""
