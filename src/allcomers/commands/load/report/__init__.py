"""How a result is shown.

figures      in words and figures
terminal     those in the terminal, and how far a load is
plots page   those on a page, with plots
rows         as comma-separated values
"""
