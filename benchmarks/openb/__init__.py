"""How much of a cluster of shared devices is put to use: the evaluation of fragmentation gradient descent."""
