"""Each guard of the SQL functions, taken away, and the test that then fails. `hunt.py` finds the tests."""
