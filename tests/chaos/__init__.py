"""What goes wrong on purpose, counted: the suites behind `make chaos`."""
