"""The only part that talks to API servers: port, implementations, reflectors, registry, leases."""
