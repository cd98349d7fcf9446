"""Access, read from the catalog and compared with the tables of expected.py and expected_rows.py."""
