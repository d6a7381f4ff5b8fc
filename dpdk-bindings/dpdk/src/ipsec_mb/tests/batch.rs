use super::{library, manager, noise};
use crate::ipsec_mb::{CbcKey, ChaChaKey, Hash, HmacKey, Job, Keys, Manager};

/// Keys of every suite, several of each.
#[expect(clippy::vec_box, reason = "keys come boxed, so that they are never moved")]
struct Ring {
    cbc: Vec<Box<CbcKey>>,
    hmac: Vec<Box<HmacKey>>,
    chacha: Vec<Box<ChaChaKey>>,
}

impl Ring {
    fn new() -> Self {
        let library = library();
        let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
        Self {
            cbc: (0..6).map(|n| CbcKey::new(&library, &noise(n, 16 << (n % 2))).unwrap()).collect(),
            hmac: (0..8)
                .map(|n| HmacKey::new(&library, hashes[n % 4], &noise(n as u64, 20 + 4 * n)).unwrap())
                .collect(),
            chacha: (0..3)
                .map(|n| {
                    let (key, salt) = (noise(n, 32), noise(n, 4));
                    ChaChaKey::new(&key, salt.try_into().unwrap()).unwrap()
                })
                .collect(),
        }
    }

    fn keys(&self, n: usize) -> Keys<'_> {
        match n % 5 {
            0..3 => Keys::Cbc(&self.cbc[n % self.cbc.len()], &self.hmac[n % self.hmac.len()]),
            3 => Keys::Null(&self.hmac[n / 5 % self.hmac.len()]),
            _ => Keys::ChaCha(&self.chacha[n % self.chacha.len()]),
        }
    }
}

/// A plain packet of about `len` bytes of payload, as long as its suite wants it.
fn plain(keys: Keys<'_>, seed: usize, len: usize) -> Vec<u8> {
    let (overhead, align) = match keys {
        Keys::Cbc(_, hmac) => (8 + 16 + hmac.hash().icv_len(), 16),
        Keys::Null(hmac) => (8 + hmac.hash().icv_len(), 4),
        Keys::ChaCha(_) => (8 + 8 + 16, 4),
    };
    noise(seed as u64, overhead + (len + 2).next_multiple_of(align))
}

fn sequence_high(n: usize) -> Option<u32> {
    n.is_multiple_of(3).then_some(n as u32)
}

fn seal_all(manager: &mut Manager, ring: &Ring, packets: &mut [Vec<u8>]) {
    let mut jobs: Vec<Job<'_>> = packets
        .iter_mut()
        .enumerate()
        .map(|(n, packet)| Job::seal(ring.keys(n), packet, sequence_high(n)))
        .collect();
    manager.run(&mut jobs);
    assert!(jobs.iter().all(Job::is_done));
}

fn open_all(manager: &mut Manager, ring: &Ring, packets: &mut [Vec<u8>]) -> Vec<bool> {
    let mut jobs: Vec<Job<'_>> = packets
        .iter_mut()
        .enumerate()
        .map(|(n, packet)| Job::open(ring.keys(n), packet, sequence_high(n)))
        .collect();
    manager.run(&mut jobs);
    jobs.iter().map(Job::is_done).collect()
}

/// Where the plaintext is.
fn text(keys: Keys<'_>, packet: &[u8]) -> std::ops::Range<usize> {
    match keys {
        Keys::Cbc(_, hmac) => 24..packet.len() - hmac.hash().icv_len(),
        Keys::Null(hmac) => 8..packet.len() - hmac.hash().icv_len(),
        Keys::ChaCha(_) => 16..packet.len() - 16,
    }
}

#[test]
fn a_batch_is_what_its_packets_are_one_by_one() {
    let (ring, mut manager) = (Ring::new(), manager());
    // Longer than the library's own queue, and no multiple of it.
    let mut together: Vec<_> = (0..301).map(|n| plain(ring.keys(n), n, n * 61 % 2001)).collect();
    let mut alone = together.clone();
    seal_all(&mut manager, &ring, &mut together);
    for (n, packet) in alone.iter_mut().enumerate() {
        let mut job = [Job::seal(ring.keys(n), packet, sequence_high(n))];
        manager.run(&mut job);
        assert!(job[0].is_done());
    }
    assert!(together == alone);
}

#[test]
fn opens_what_it_sealed_at_every_length() {
    let (ring, mut manager) = (Ring::new(), manager());
    for start in (0..2000).step_by(64) {
        let plain: Vec<_> = (0..64).map(|n| plain(ring.keys(n), n, start + n)).collect();
        let mut packets = plain.clone();
        seal_all(&mut manager, &ring, &mut packets);
        for (n, packet) in packets.iter().enumerate() {
            let range = text(ring.keys(n), packet);
            assert_eq!(packet[..range.start], plain[n][..range.start], "header or IV changed");
            assert_eq!(packet[range.clone()] == plain[n][range], n % 5 == 3, "packet {n}");
        }
        assert!(open_all(&mut manager, &ring, &mut packets).iter().all(|done| *done));
        for (n, packet) in packets.iter().enumerate() {
            let range = text(ring.keys(n), packet);
            assert_eq!(packet[..range.end], plain[n][..range.end], "packet {n}");
        }
    }
}

/// Packets in the middle of one buffer, none of them aligned, with bytes between them that nobody may touch.
#[test]
fn writes_nothing_beside_its_packets() {
    let (ring, mut manager) = (Ring::new(), manager());
    for gap in [1, 3, 7] {
        let packets: Vec<_> = (0..64).map(|n| plain(ring.keys(n), n, n * 31)).collect();
        let mut buffer = vec![0xaa; gap];
        for packet in &packets {
            buffer.extend(packet);
            buffer.extend(vec![0xaa; gap]);
        }
        for is_seal in [true, false] {
            let mut jobs = Vec::new();
            let mut rest = &mut buffer[..];
            for (n, packet) in packets.iter().enumerate() {
                let (esp, behind) = rest[gap..].split_at_mut(packet.len());
                let make = if is_seal { Job::seal } else { Job::open };
                jobs.push(make(ring.keys(n), esp, sequence_high(n)));
                rest = behind;
            }
            manager.run(&mut jobs);
            assert!(jobs.iter().all(Job::is_done));
            drop(jobs);
            let mut at = 0;
            for packet in &packets {
                assert_eq!(buffer[at..at + gap], vec![0xaa; gap]);
                at += gap + packet.len();
            }
            assert_eq!(buffer[at..], vec![0xaa; gap]);
        }
    }
}

#[test]
fn one_bad_packet_among_good_ones_is_found() {
    let (ring, mut manager) = (Ring::new(), manager());
    let mut sealed: Vec<_> = (0..32).map(|n| plain(ring.keys(n), n, 40 + n)).collect();
    seal_all(&mut manager, &ring, &mut sealed);
    for victim in 0..sealed.len() {
        for byte in 0..sealed[victim].len() {
            let mut packets = sealed.clone();
            packets[victim][byte] ^= 1 << (byte % 8);
            let opened = open_all(&mut manager, &ring, &mut packets);
            for (n, is_authentic) in opened.into_iter().enumerate() {
                assert_eq!(is_authentic, n != victim, "packet {n}, byte {byte} of {victim} changed");
            }
            let mut forged = sealed[victim].clone();
            forged[byte] ^= 1 << (byte % 8);
            let is_chacha = matches!(ring.keys(victim), Keys::ChaCha(_));
            assert!(is_chacha || packets[victim] == forged, "decrypted what is not authentic");
        }
    }
}

#[test]
fn a_packet_of_another_key_is_not_authentic() {
    let (ring, mut manager) = (Ring::new(), manager());
    let mut packet = plain(ring.keys(0), 1, 64);
    let mut job = [Job::seal(Keys::Cbc(&ring.cbc[0], &ring.hmac[1]), &mut packet, None)];
    manager.run(&mut job);
    let mut job = [Job::open(Keys::Cbc(&ring.cbc[0], &ring.hmac[5]), &mut packet, None)];
    manager.run(&mut job);
    assert!(!job[0].is_done());
}

#[test]
fn lengths_that_fit_no_suite_are_left_alone() {
    let (ring, mut manager) = (Ring::new(), manager());
    let (cbc, hmac) = (&ring.cbc[0], &ring.hmac[1]);
    let suites = [
        (Keys::Cbc(cbc, hmac), vec![0, 8, 23, 24, 40, 41, 55, 57, 65_501]),
        (Keys::Null(hmac), vec![0, 8, 16, 23, 24, 65_501]),
        (Keys::ChaCha(&ring.chacha[0]), vec![0, 8, 16, 31, 32, 65_501]),
    ];
    for (keys, lengths) in suites {
        for len in lengths {
            let (mut plain, mut sealed) = (vec![5; len], vec![5; len]);
            let mut jobs = [Job::seal(keys, &mut plain, Some(1)), Job::open(keys, &mut sealed, Some(1))];
            manager.run(&mut jobs);
            assert!(!jobs[0].is_done() && !jobs[1].is_done());
            assert!(plain.iter().chain(&sealed).all(|byte| *byte == 5), "{len} bytes");
        }
    }
}

#[test]
fn refuses_keys_of_other_lengths() {
    let library = library();
    assert!(CbcKey::new(&library, &[0; 24]).is_err());
    assert!(HmacKey::new(&library, Hash::Sha256, &[]).is_err());
    assert!(HmacKey::new(&library, Hash::Sha256, &[0; 65]).is_err());
    assert!(HmacKey::new(&library, Hash::Sha512, &[0; 128]).is_ok());
}

/// What the types promise to the threads of a program.
#[test]
fn keys_are_shared_and_a_manager_moves() {
    fn shared<T: Send + Sync>() {}
    fn moves<T: Send>() {}
    shared::<CbcKey>();
    shared::<HmacKey>();
    shared::<ChaChaKey>();
    shared::<crate::ipsec_mb::GcmKey>();
    shared::<crate::ipsec_mb::Library>();
    moves::<Manager>();
}
