"""Drive connections: the parts that the models share."""
