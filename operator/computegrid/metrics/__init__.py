"""Every metric: its name, its help, its labels; and the collector that reads the tables when it is scraped.

Labels are bounded by what admins create (clusters, pools, queues, accelerators) and by fixed vocabularies; no
job, pod, node or user ever becomes a label.
"""
