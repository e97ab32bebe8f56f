"""Which network, cut where, suits a dataset: features of a sample, scores of each cut, signs of trouble, and the ranking."""
