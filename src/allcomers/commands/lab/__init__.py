"""The lab: measure every model on an app, and recommend one, with reasons.

data/candidate, goal, plan, race     what is tried, against which goal, for how long
run/server, load_process, usage      one server, its load, the resources that it uses
run/trial                            one server from its start to its end: the unit of all statistics
run/probing, experiment, journal     the first look; which trials, in which order; finished trials are kept
analysis/statistics, scaling         ratios, ties, changes; the knee and the Universal Scalability Law: pure
analysis/analysis, verdict           from trials to standings, from standings to a recommendation: pure
report                               terminal, plots, page

It imports all of allcomers, and nothing of allcomers imports it but the command line.
"""
