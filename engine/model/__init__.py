"""Ids, states, envelopes, outcomes and findings: the words every layer shares. Standard library only."""
