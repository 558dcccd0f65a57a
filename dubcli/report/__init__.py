"""The QC report of a dub: what was done in every frame, as JSON and as one page to look at."""
