// The definition of ClusterProfile as SIG Multicluster publishes it, pinned; nothing is built from it.
module computegrid.dev/tests/e2e/clusterprofile

go 1.26.0

require sigs.k8s.io/cluster-inventory-api v0.1.2
