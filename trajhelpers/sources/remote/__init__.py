"""What files far away have in common, however a range is asked for: one way to read, one policy for
trying again.
"""
