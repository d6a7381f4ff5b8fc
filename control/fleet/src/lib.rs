//! What the nodes of a fleet share, and how they reach one another: the store and its engines, the sealing of what is
//! secret in it, the files with secrets that the configuration names, the names of its keys, and the datagrams from node
//! to node.
//!
//! Knows nothing of packets, tunnels or security associations: to this crate they are bytes under a name.

pub mod names;
pub mod peer;
pub mod seal;
pub mod secret_file;
pub mod store;
