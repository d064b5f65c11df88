"""Pictures and widgets of kernels, in one style."""
