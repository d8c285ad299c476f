"""Many machines: actors that hold environments and act with what the learner publishes, wherever Ray places them."""
