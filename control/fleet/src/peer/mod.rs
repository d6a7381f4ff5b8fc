//! Datagrams from node to node.
