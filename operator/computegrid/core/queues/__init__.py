"""Whose turn it is and what each queue may have: the tree, quotas, fair share, budgets."""
