"""How many workers, how many machines: a simulation of the autoscaling policy, and what capacity takes."""
