"""Pure decisions: the same snapshot, time and policy give the same decisions, byte for byte, on any machine.

Nothing here reads a clock, draws a random number, logs or does IO, and nothing knows of Kubernetes: names,
integers and arrays come in, values go out.
"""
