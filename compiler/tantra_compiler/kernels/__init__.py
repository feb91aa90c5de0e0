"""GPU kernels written by hand, and the programs that are passed into them."""
