"""Many dubs: which there are, which are done already, and what became of each."""
