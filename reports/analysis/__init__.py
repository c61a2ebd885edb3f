"""Pure functions on arrays and tables: dominance, intervals, convergence, importance."""
