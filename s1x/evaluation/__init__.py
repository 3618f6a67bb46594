"""What a cell needs on its way from configuration to files: names, plan, progress, samples, votes, where results come from."""
