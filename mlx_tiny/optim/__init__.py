"""Muon, AdamW, and the schedule of learning rate and momentum."""
