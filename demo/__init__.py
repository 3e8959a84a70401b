"""The demonstration, and the grid that it, the end-to-end tests and the benchmarks run on."""
