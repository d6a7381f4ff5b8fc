"""The lab: network namespaces, real kernel GRE and ESP peers and the gateway between them.

Everything a lab creates carries the lab's name, so several labs live side by
side and each removes only what is its own.
"""
