"""Stand-ins for what a lab node has not got. Each says SIMULATED in what it prints."""
