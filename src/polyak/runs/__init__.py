"""One run's folder: what is kept, how it is shown while it grows, and what is drawn from it."""
