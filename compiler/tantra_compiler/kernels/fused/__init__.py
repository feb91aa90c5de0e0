"""Triton kernels around attention: norms, positions, activations."""
