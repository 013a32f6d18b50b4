"""Where the work is done: the pools of workers, in this process and on Ray, and the two kinds of worker."""
