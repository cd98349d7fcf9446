"""Employees of an organization: their consent and their voice."""
