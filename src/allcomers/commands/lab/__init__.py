"""The lab: measure every model on an app, and say which to run and why.

    candidate, probe, plan      what is tried, and for how long
    server, usage, driving      one server, what it uses, what drives it
    trial                       one server from its start to its end: the unit of all statistics
    journal, experiment         which trials, in which order; what is done stays done
    statistics, scaling         ratios, ties, changes; the knee and the Universal Scalability Law: pure
    analysis, verdict           from trials to standings, from standings to a recommendation: pure
    terminal, plots, page       how it is told
    race                        one handler under models that one wants to see side by side

It imports all of allcomers, and nothing of allcomers imports it but the command line.
"""
