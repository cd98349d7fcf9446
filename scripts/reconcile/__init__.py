"""Comparing the rows with what they are about: voices at providers, mirrors, objects in Storage."""
