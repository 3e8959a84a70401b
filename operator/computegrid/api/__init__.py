"""The objects of the group computegrid.dev, as the operator and its users read them.

Import from the module that holds the kind, for example ``computegrid.api.ai_job``. This file imports
nothing, so that ``labels`` and ``quantity`` stay free of pydantic for the pure parts that use them.
"""
