"""What emitted models call: plain functions on tensors, each readable on its own.

Emitted source imports from these modules by name, or carries a copy of what it uses when it is to stand alone; so every
module here needs torch and its neighbours in this folder only.
"""
