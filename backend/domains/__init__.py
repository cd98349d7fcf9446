"""One package a domain: its routes, what they do, and its queries."""
