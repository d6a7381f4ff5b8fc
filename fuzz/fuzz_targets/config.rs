//! Any text as configuration: a configuration or problems, never a panic; what is valid reads back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_control::config;

fuzz_target!(|text: &str| {
    if let Ok(valid) = config::parse_str(text) {
        let again = config::parse_str(&valid.to_yaml());
        assert_eq!(again.as_ref().ok(), Some(&valid));
    }
});
