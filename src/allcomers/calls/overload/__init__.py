"""Overload: which requests are refused when more come than can be answered in time.

delay      whether requests wait too long, and have done so for a while (CoDel)
admission  the places where requests wait in a worker, and whether one may be called
"""
