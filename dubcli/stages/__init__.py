"""What is done to a video, one verb a module: iterator in, iterator out."""
