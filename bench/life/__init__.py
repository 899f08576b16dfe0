"""A server's life: restarts behind a balancer, and what is left over at its end."""
