"""Dynamic programming (Sutton and Barto, 2018, chapter 4): plain functions on an `MDP`, in double precision."""
