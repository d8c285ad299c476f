"""What algorithms are made of: networks, distributions, replay, normalisation, schedules."""
