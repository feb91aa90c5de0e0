"""Attention programs run by the Triton kernels that are made from them."""
