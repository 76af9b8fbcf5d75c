"""Records of time that one can trust: cases, peers, the loop that times them, and what is made of the results."""
