//! Any bytes as a record of the journal of negotiated associations.

use penstock_control::ike::journal::Record;

/// A record or an error, never a panic; and what is a record has no other form than these bytes.
pub fn sa_record(data: &[u8]) {
    match Record::decode(data) {
        Ok((boot, record)) => {
            let again = record.encode(&boot).expect("it was a record");
            assert_eq!(again.as_slice(), data);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
