//! Cycles of the processor's clock (TSC) that a packet costs in the ciphers, by suite, backend and size.
//!
//! `cargo bench -p penstock-dataplane --no-default-features --bench aead [-- PART-OF-A-SUITE'S-NAME]`.
//! Bursts of 64 packets of one key and one size, all of it in the cache, sealed and opened again; a tenth of
//! the bursts was faster than what is printed.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a measurement, which prints")]
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::hint::black_box;

use penstock_dataplane::esp::cipher::{Backend, Cipher, Engine, OpenJob, SealJob};
use penstock_dataplane::esp::iv::{Lease, LeaseStore, Sender, SenderId};
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::suite::{HEADER_LEN, Suite};

/// Packets of a burst.
const BURST: usize = 64;
/// Bursts of a measurement.
const ROUNDS: usize = 2000;
/// Payload of a packet with padding and trailer, bytes; rounded up to the suite's block.
const SIZES: [usize; 5] = [64, 256, 512, 1024, 1400];

/// Leases that are good for one run under keys of that run.
struct Once;

impl LeaseStore for Once {
    type Error = Infallible;

    fn next_sender(&mut self) -> Result<SenderId, Infallible> {
        Ok(SenderId::new(1).expect("1 is a sender's number"))
    }
}

fn now() -> u64 {
    // SAFETY: reading the time stamp counter touches no memory; every x86-64 has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Cycles a packet, to seal and to open.
fn measure(engine: &mut Engine, cipher: &Cipher, sender: &mut Sender, size: usize) -> (f64, f64) {
    let suite = cipher.suite();
    let len = HEADER_LEN + suite.iv_len() + size.next_multiple_of(suite.block_len()) + suite.icv_len();
    // Packets lie apart, as in a pool of buffers: 2 KiB and a line.
    let mut memory = vec![0_u8; BURST * 2112];
    let mut times = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let packets = memory.chunks_exact_mut(2112).map(|buffer| &mut buffer[..len]);
        let mut jobs: Vec<_> = packets
            .map(|esp| SealJob::new(cipher, esp, None, sender.next_iv().expect("a lease lasts longer")))
            .collect();
        let start = now();
        engine.seal(black_box(&mut jobs));
        times.0.push(now() - start);
        assert!(jobs.iter().all(SealJob::is_sealed));
        drop(jobs);

        let packets = memory.chunks_exact_mut(2112).map(|buffer| &mut buffer[..len]);
        let mut jobs: Vec<_> = packets.map(|esp| OpenJob::new(cipher, esp, None)).collect();
        let start = now();
        engine.open(black_box(&mut jobs));
        times.1.push(now() - start);
        assert!(jobs.iter().all(OpenJob::is_authentic));
    }
    (decile(times.0), decile(times.1))
}

fn decile(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times[times.len() / 10] as f64 / BURST as f64
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut sender = match Lease::take(&mut Once) {
        Ok(lease) => Sender::new(lease),
        Err(never) => match never {},
    };
    print!("{:<18} {:<11}", "suite", "backend");
    for size in SIZES {
        print!(" {:>11}", format!("{size} B"));
    }
    println!("   (seal/open)");
    for suite in Suite::all().filter(|suite| suite.name().contains(&wanted)) {
        let key = vec![0x42; suite.encryption_key_len() + suite.salt_len()];
        let keys =
            KeyMaterial::new(suite, &key, &vec![0x17; suite.integrity_key_len()]).expect("its lengths");
        for backend in Backend::available() {
            let Ok(cipher) = Cipher::new(suite, &keys, backend.backend) else { continue };
            let Ok(mut engine) = Engine::new(backend.backend) else { continue };
            print!("{:<18} {:<11}", suite.name(), backend.backend.name());
            for size in SIZES {
                let (seal, open) = measure(&mut engine, &cipher, &mut sender, size);
                print!(" {:>11}", format!("{seal:.0}/{open:.0}"));
            }
            println!();
        }
    }
}
