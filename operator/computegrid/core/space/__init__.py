"""Room inside pools: capacity, slots of devices, topology, and gangs laid into them."""
