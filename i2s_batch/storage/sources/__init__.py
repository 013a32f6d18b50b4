"""SOURCE: the list of pictures that a run is about, from folders, prefixes and files that name them."""
