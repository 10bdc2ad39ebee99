"""Billing: budgets, the one table of spending limits, and what was spent."""
