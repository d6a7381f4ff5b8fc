//! All backends make the same bytes of the same packets, and refuse the same.
//!
//! `PENSTOCK_AGREEMENT_PACKETS` says how many random packets; the soak check asks for a million.

use super::*;

/// Packets of a burst, as the data path has them.
const BURST: usize = 64;
/// Packets in `cargo test`.
const PACKETS: usize = 20_000;

/// SplitMix64: a seed is enough to see a failure again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

/// A packet before it is sealed.
struct Plain {
    key: usize,
    high: Option<u32>,
    iv: u64,
    esp: Vec<u8>,
}

fn random_packet(random: &mut Random, suites: &[Suite], number: u64) -> Plain {
    let key = random.below(suites.len());
    // Half of them small, where the ways through a backend differ most.
    let longest = if random.below(2) == 0 { 160 } else { 1500 };
    let len = random.below(longest).next_multiple_of(suites[key].block_len()).max(suites[key].block_len());
    let mut payload = vec![0; len];
    random.fill(&mut payload);
    let esp = packet(suites[key], random.next() as u32, random.next() as u32, &payload);
    Plain { key, high: (random.below(2) == 0).then(|| random.next() as u32), iv: number, esp }
}

fn seal_all(engine: &mut Engine, ciphers: &[Cipher], burst: &[Plain]) -> Vec<Vec<u8>> {
    let mut sealed: Vec<Vec<u8>> = burst.iter().map(|plain| plain.esp.clone()).collect();
    let mut jobs: Vec<_> = sealed
        .iter_mut()
        .zip(burst)
        .map(|(esp, plain)| {
            SealJob::new(&ciphers[plain.key], esp, plain.high, Iv::of_vector(plain.iv.to_be_bytes()))
        })
        .collect();
    engine.seal(&mut jobs);
    assert!(jobs.iter().all(SealJob::is_sealed));
    drop(jobs);
    sealed
}

/// Opens copies of `sealed`: which are authentic, and what they hold.
fn open_all(
    engine: &mut Engine,
    ciphers: &[Cipher],
    burst: &[Plain],
    sealed: &[Vec<u8>],
) -> (Vec<bool>, Vec<Vec<u8>>) {
    let mut opened = sealed.to_vec();
    let mut jobs: Vec<_> = opened
        .iter_mut()
        .zip(burst)
        .map(|(esp, plain)| OpenJob::new(&ciphers[plain.key], esp, plain.high))
        .collect();
    engine.open(&mut jobs);
    let authentic = jobs.iter().map(OpenJob::is_authentic).collect();
    drop(jobs);
    (authentic, opened)
}

#[test]
fn backends_agree() {
    let packets = std::env::var("PENSTOCK_AGREEMENT_PACKETS").ok().and_then(|count| count.parse().ok());
    let packets: usize = packets.unwrap_or(PACKETS);
    let seed = std::env::var("PENSTOCK_AGREEMENT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    let mut random = Random(seed);
    // Two keys of each suite, so that a burst has packets of one key and of many.
    let suites: Vec<_> = Suite::all().chain(Suite::all()).collect();
    let mut sides: Vec<_> = ways()
        .into_iter()
        .map(|way| {
            let mut engine = way.engine();
            engine.set_iv_key([seed as u8; 16]);
            let ciphers = suites.iter().zip(0_u8..).map(|(&suite, seed)| cipher(suite, seed, way));
            (way, engine, ciphers.collect::<Vec<_>>())
        })
        .collect();
    let mut done = 0;
    while done < packets {
        let count = 1 + random.below(BURST);
        let burst: Vec<_> =
            (0..count).map(|i| random_packet(&mut random, &suites, (done + i) as u64)).collect();
        let mut first: Option<Vec<Vec<u8>>> = None;
        let mut changed = Vec::new();
        for (way, engine, ciphers) in &mut sides {
            let sealed = seal_all(engine, ciphers, &burst);
            let (authentic, opened) = open_all(engine, ciphers, &burst, &sealed);
            assert!(authentic.iter().all(|&yes| yes), "{way}, seed {seed}, burst at {done}");
            for (opened, plain) in opened.iter().zip(&burst) {
                let suite = suites[plain.key];
                assert_eq!(payload_of(suite, opened), payload_of(suite, &plain.esp), "{way} {suite}");
            }
            if first.is_none() {
                changed = sealed.clone();
                for esp in &mut changed {
                    let bit = random.below(esp.len() * 8);
                    esp[bit / 8] ^= 1 << (bit % 8);
                }
            }
            let first = first.get_or_insert_with(|| sealed.clone());
            assert!(*first == sealed, "{way}, seed {seed}, burst at {done}: another packet");
            let (authentic, _) = open_all(engine, ciphers, &burst, &changed);
            assert!(authentic.iter().all(|&yes| !yes), "{way}, seed {seed}, burst at {done}: forged");
        }
        done += count;
    }
}

/// Lengths around those where a byte of the counter is full, and what a jumbo frame and IP can hold.
#[test]
fn ways_agree_about_long_packets() {
    for suite in [Suite::AES128_GCM, Suite::AES256_GCM] {
        for len in (4032..4128).step_by(4).chain([8160, 8992, 65_500]) {
            let payload: Vec<u8> = (0..len).map(|i: usize| (i * 7) as u8).collect();
            let mut first: Option<Vec<u8>> = None;
            for (way, engine) in &mut engines() {
                let cipher = cipher(suite, 5, *way);
                let mut esp = packet(suite, 0x1001, 1, &payload);
                assert!(seal(engine, &cipher, &mut esp, None, 1), "{way} {suite} {len}");
                assert!(*first.get_or_insert_with(|| esp.clone()) == esp, "{way} {suite} {len}");
                assert!(open(engine, &cipher, &mut esp, None), "{way} {suite} {len}");
                assert!(payload_of(suite, &esp) == payload, "{way} {suite} {len}");
            }
        }
    }
}

/// A burst gives what its packets give one by one, whatever keys of whatever backend it mixes.
#[test]
fn a_burst_is_its_packets() {
    let mut random = Random(2);
    let ways = ways();
    let suites: Vec<_> = Suite::all().flat_map(|suite| ways.iter().map(move |_| suite)).collect();
    let ciphers: Vec<_> =
        suites.iter().zip(ways.iter().cycle()).map(|(&suite, &way)| cipher(suite, 3, way)).collect();
    let mut engine = Engine::new(Backend::best()).unwrap();
    for round in 0..50_usize {
        let burst: Vec<_> =
            (0..BURST).map(|i| random_packet(&mut random, &suites, (round * BURST + i) as u64)).collect();
        let together = seal_all(&mut engine, &ciphers, &burst);
        for (i, plain) in burst.iter().enumerate() {
            let alone = seal_all(&mut engine, &ciphers, std::slice::from_ref(plain));
            assert_eq!(alone[0], together[i], "{} {}", suites[plain.key], plain.esp.len());
        }
        let (authentic, opened) = open_all(&mut engine, &ciphers, &burst, &together);
        assert!(authentic.iter().all(|&yes| yes));
        for (opened, plain) in opened.iter().zip(&burst) {
            assert_eq!(payload_of(suites[plain.key], opened), payload_of(suites[plain.key], &plain.esp));
        }
    }
}
