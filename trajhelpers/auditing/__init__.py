"""Is each checkpoint what it says it is?"""
