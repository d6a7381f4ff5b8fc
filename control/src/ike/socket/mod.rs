//! The socket that charon's plugin speaks with us on.

mod kernel;

pub use kernel::Kernel;
