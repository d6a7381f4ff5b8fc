//! A fleet: nodes with one anycast address, each of which receives and sends under the security associations of all.
//!
//! [`members`] knows which nodes live, [`barrier`] which of them have applied what, [`peers`] carries that from node to
//! node, and [`acknowledgements`] joins the three into one wait.

pub mod acknowledgements;
pub mod barrier;
pub mod lateness;
pub mod members;
pub mod node_record;
pub mod peers;

#[cfg(test)]
mod tests;
