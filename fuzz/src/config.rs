//! Any text as configuration.

use penstock_control::config::parse_str;

/// A configuration or problems, never a panic; and what is valid, written out, reads back equal.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(valid) = parse_str(text) {
        let again = parse_str(&valid.to_yaml());
        assert_eq!(again.as_ref().ok(), Some(&valid));
    }
}
