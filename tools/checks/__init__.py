"""The checks behind `make check`: one module for each kind, all counted as cases (cases.py)."""
