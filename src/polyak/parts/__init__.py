"""Parts of algorithms: networks, distributions, replay, normalisation, schedules, hyperparameters."""
