"""Pictures of what was planned and learnt: values, action values and paths on a grid, and learning curves."""
