"""How good a ranking by Hamming distance is: metrics, retrievers, and the harness that measures one with the other."""
