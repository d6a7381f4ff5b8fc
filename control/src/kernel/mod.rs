//! The kernel's side of the gateway: the namespace of the twins, the twins themselves, and the mirror of what the
//! kernel knows.

pub mod state;
