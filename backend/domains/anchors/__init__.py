"""Anchors: signed heads of the ledger of consents, and where they are published."""
