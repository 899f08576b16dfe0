"""Workers by demand, `--workers 1-8`: `policy` decides, `meter` reads the figures, `scaler` looks once a second."""
