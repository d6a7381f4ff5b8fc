//! The nodes of a fleet: who lives, what each has, and how they tell one another.
//!
//! [`members`] knows which nodes live, [`barrier`] which of them have applied what, [`peers`] carries that from node to
//! node, and [`acknowledgements`] joins the three into one wait.

pub mod acknowledgements;
pub mod barrier;
pub mod conflict;
pub mod lateness;
pub mod members;
pub mod node_record;
pub mod peers;

#[cfg(test)]
mod tests;
