//! Replays every committed input: seeds that reach far, and inputs that once broke something.

use std::fs;
use std::path::Path;

/// `every` so many bytes a beginning of the input is an input too.
fn replay(target: &str, every: usize, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        let data = fs::read(&file).expect("readable");
        run(&data);
        // Every beginning of it too: truncation is the commonest damage.
        for end in (0..data.len().min(256)).step_by(every) {
            run(&data[..end]);
        }
    }
}

#[test]
fn pipeline() {
    replay("pipeline", 1, penstock_fuzz::pipeline);
}

#[test]
fn esp() {
    replay("esp", 7, penstock_fuzz::esp);
}

#[test]
fn headers() {
    replay("headers", 1, penstock_fuzz::headers);
}

#[test]
fn rewrites() {
    replay("rewrites", 1, penstock_fuzz::rewrites);
}

#[test]
fn config() {
    replay("config", 1, penstock_fuzz::config);
}

#[test]
fn static_sas() {
    replay("static_sas", 1, penstock_fuzz::static_sas);
}

#[test]
fn charon_request() {
    replay("charon_request", 1, penstock_fuzz::charon_request);
}

#[test]
fn sa_record() {
    replay("sa_record", 1, penstock_fuzz::sa_record);
}

#[test]
fn fleet_record() {
    replay("fleet_record", 1, penstock_fuzz::fleet_record);
}

#[test]
fn peer() {
    replay("peer", 1, penstock_fuzz::peer);
}

#[test]
fn sealed_record() {
    replay("sealed_record", 1, penstock_fuzz::sealed_record);
}

#[test]
fn fleet_key_file() {
    replay("fleet_key_file", 1, penstock_fuzz::fleet_key_file);
}

#[test]
fn fleet_key_name() {
    replay("fleet_key_name", 1, penstock_fuzz::fleet_key_name);
}
