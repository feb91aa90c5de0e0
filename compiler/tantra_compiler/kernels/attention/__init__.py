"""Attention kernels in Triton: templates that take the mask and the score as small jit functions.

``launch`` has the host functions, ``programs`` what they are given, ``configs`` the table of tile sizes and ``build``
the ahead-of-time build of all of it.
"""
