//! Immutable tables that control publishes and workers look up.

pub mod fib;
