"""Stages, their outcomes and ledgers, and the loop that runs them."""
