"""How fast this machine computes what training and writing are made of, against other ways to compute the same."""
