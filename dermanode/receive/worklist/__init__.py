"""Unified procedure steps: work that a manager schedules, is asked for, claimed and done (IHE AI Workflow)."""
