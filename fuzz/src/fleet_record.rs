//! Any bytes as a record of an SA in the fleet's store.

use penstock_control::fleet::record::SaRecord;
use penstock_fleet::names::KeyName;

/// A record or an error, never a panic; what is a record has no other form than these bytes, and a name that is one.
pub fn fleet_record(data: &[u8]) {
    match SaRecord::decode(data) {
        Ok(record) => {
            let again = record.encode().expect("it was a record");
            assert_eq!(again.as_slice(), data);
            let name = record.name();
            assert_eq!(name.to_string().parse(), Ok(KeyName::Sa(name)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
