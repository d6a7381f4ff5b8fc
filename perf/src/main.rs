//! The benchmark kit.
fn main() {}
