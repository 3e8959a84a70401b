"""The grid in virtual time: the same core and life cycle, with arrivals, ends and faults that are made up."""
