#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| penstock_fuzz::fleet_key_name(data));
