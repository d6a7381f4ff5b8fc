//! What charon was given, by tunnel: after a restart of ours it tells which peers were changed meanwhile. No secrets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;

use crate::ike::charon;
use crate::ike::loader::Fingerprint;

/// Reads `NAME HEX`, one a line; what is not so is left out.
pub(super) fn recall(file: &Path) -> BTreeMap<String, Fingerprint> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let (name, hex) = line.split_once(' ')?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).ok()?;
        Some((name.to_owned(), bytes.try_into().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Writes what [`recall`] reads.
pub(super) fn remember(file: &Path, fingerprints: &BTreeMap<String, Fingerprint>) {
    let line = |(name, bytes): (&String, &Fingerprint)| format!("{name} {}\n", HEXLOWER.encode(bytes));
    let text: String = fingerprints.iter().map(line).collect();
    if let Err(error) = charon::write(file, &text) {
        tracing::warn!(%error, file = %file.display(), "after a restart, tunnels whose peer was changed meanwhile stay up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("loaded");
        assert!(recall(&file).is_empty());
        let known = BTreeMap::from([("acme/dc1".to_owned(), [0xa5; 32]), ("acme/dc2".to_owned(), [7; 32])]);
        remember(&file, &known);
        assert_eq!(recall(&file), known);
        fs::write(&file, "acme/dc1 zz\nnonsense\n").unwrap();
        assert!(recall(&file).is_empty());
    }
}
