"""What was planned and learnt, as pictures: values, action values and paths on a grid, and learning curves."""
