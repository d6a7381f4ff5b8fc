mod file;
mod records;
mod vectors;

use super::*;

/// A key whose every byte is told by a number.
fn key(number: u8) -> FleetKey {
    FleetKey::from_bytes(&std::array::from_fn(|at| (at as u8).wrapping_mul(7) ^ number))
}

fn ring(numbers: &[u8]) -> Keyring {
    Keyring::new(numbers.iter().copied().map(key).collect()).unwrap()
}
