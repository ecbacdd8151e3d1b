"""The workflow on Kubernetes: what runs in which order, what is tried again, what is told after.

`python -m workflows` writes the manifests into the Helm chart, which lays a site's values over
them. Nothing here runs in a cluster: a container there is a plain `sales-mart` command.
"""
