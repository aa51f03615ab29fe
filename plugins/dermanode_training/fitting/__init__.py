"""How a network is fitted: tasks, batches, the loop, and what makes a run go on after an interruption."""
