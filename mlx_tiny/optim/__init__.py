"""Muon and AdamW, and their schedule."""
