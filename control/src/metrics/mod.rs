//! What is measured, as Prometheus and whoever speaks its formats read it: `/metrics`.
//!
//! Nothing is kept here. A scrape takes one [`Reading`] of the rows that `show` prints, so the two cannot disagree, and
//! writes it down. Workers are not asked: they count for themselves, and control reads.
//!
//! One table for each kind of row ([`table`]) is at once what is written, the help text and `docs/metrics.md`.

mod fleet;
mod format;
mod gateway;
mod ike;
mod ports;
mod reading;
mod sas;
mod server;
mod table;
mod tunnels;
mod workers;

#[cfg(test)]
mod tests;

pub use format::Format;
pub use reading::Reading;
pub use server::{Listening, MetricsError};
pub use table::{Described, Kind};

pub(crate) use server::{PATH, Scraper};

/// Every metric that a gateway can have, in the order of a scrape.
pub fn catalogue() -> Vec<Described> {
    reading::catalogue()
}
