"""The report of a result.

figures      rows of names and figures
terminal     the table in the terminal, and the progress of a load
plots, page  the page, with plots
comparing    a comparison with an earlier result
markdown     the summary for a pull request
rows         comma-separated values
"""
