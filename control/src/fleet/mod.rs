//! A fleet: nodes with one anycast address, each of which receives and sends under the SAs of all.
//!
//! [`record`] is an SA on its way through the store. [`Fleet`] joins what the store says of other nodes' SAs
//! ([`foreign`]) with what this node has negotiated itself ([`sad`](crate::ike::sad)), and decides for each tunnel what it
//! sends under ([`arbiter`]). It is as pure as they are: no clock, store, worker or key of its own.
//!
//! All SAs that are shared have no replay window on either side and no extended sequence numbers: each node numbers its own
//! packets, and knows nothing of the others' numbers. IVs differ by the sender IDs.

pub mod about;
pub mod arbiter;
pub mod foreign;
pub mod key_file;
pub mod nodes;
pub mod objects;
pub mod outbox;
mod outline;
pub mod psks;
pub mod record;
mod settle;
mod store_settings;
#[cfg(test)]
mod tests;

pub use arbiter::{Arbitrated, Held, OnBoth, Sender};
pub use foreign::{Foreign, ForeignSa, Found, Notice, Others, Rank, Stage, Unusable};
pub use outline::Outline;
pub use settle::{Fleet, Reset, Site};
pub use store_settings::store_settings;

/// No key that nodes share is older.
pub use crate::leases::fleet::FLEET_MAX_KEY_LIFE as MAX_SHARED_KEY_LIFE;

/// Numbers that are left out when an SA is sent under again: workers may have given some since they were asked. Far fewer
/// than the journal allows for beyond what it knows.
const LEFT_OUT: u64 = 1 << 20;
