//! A fleet: nodes that answer for the same addresses and share what each of them needs to.

pub mod key_file;
pub mod objects;
pub mod outbox;
