"""Ray: sessions, tasks, Ray Tune, and the nodes of a cluster."""
