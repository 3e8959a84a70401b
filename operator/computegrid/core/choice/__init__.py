"""Where a job may go and which place is best: filters, search, scores, and what is said of the rest."""
