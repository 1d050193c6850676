"""How many workers there should be: one policy for `just autoscale`, KEDA's triggers and the simulation in bench."""
