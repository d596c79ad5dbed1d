"""Real servers that tests start on loopback, each on a free port, and stop by their process id."""
