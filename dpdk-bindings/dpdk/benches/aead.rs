//! What intel-ipsec-mb costs: TSC cycles a packet, on one thread and on several at once.
//!
//! `cargo bench -p dpdk --bench aead [-- THREADS]`; by default 1 and as many threads as there are cores. Each
//! thread has packets, keys and a manager of its own, and works on bursts of 64, every packet with another
//! key. The figure is the median over the bursts, and the mean over the threads. "Cold" takes each key from
//! 32768 ones (32 MB, on small pages), with `fetch` three packets ahead or without.
#![expect(clippy::print_stdout, reason = "a report")]

fn main() {
    #[cfg(ipsec_mb)]
    bench::run();
    #[cfg(not(ipsec_mb))]
    println!("built without intel-ipsec-mb");
}

#[cfg(ipsec_mb)]
mod bench {
    use dpdk::cycles::rdtsc;
    use dpdk::ipsec_mb::{CbcKey, ChaChaKey, GcmKey, Hash, HmacKey, Job, Keys, Library, Manager};
    use std::sync::Barrier;

    const BURST: usize = 64;
    const ROUNDS: usize = 3001;
    const LENGTHS: [usize; 5] = [64, 256, 512, 1024, 1400];

    /// What makes the work of one burst of payloads of a length.
    type Make = fn(&Library, usize) -> Box<dyn FnMut()>;

    const CASES: [(&str, Make); 7] = [
        ("AES-128-GCM seal", |library, len| gcm(library, 16, len, false)),
        ("AES-128-GCM open", |library, len| gcm(library, 16, len, true)),
        ("AES-256-GCM seal", |library, len| gcm(library, 32, len, false)),
        ("AES-128-GCM seal cold", |library, len| gcm_cold(library, len, false)),
        ("AES-128-GCM seal cold fetch", |library, len| gcm_cold(library, len, true)),
        ("AES-128-CBC-SHA256 seal", cbc),
        ("ChaCha20-Poly1305 seal", chacha),
    ];

    #[expect(clippy::expect_used, reason = "a benchmark without its subject cannot go on")]
    pub fn run() {
        let library = Library::load().expect("intel-ipsec-mb");
        println!("{library:?}; cycles a packet, bursts of {BURST} with as many keys");
        let given = std::env::args().find_map(|argument| argument.parse().ok());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for threads in given.map_or(vec![1, cores], |threads: usize| vec![threads]) {
            println!(
                "\n{:28}{}",
                format!("{threads} thread(s)"),
                LENGTHS.map(|len| format!("{len:>8}")).concat()
            );
            for (name, make) in CASES {
                let figures = LENGTHS.map(|len| format!("{:>8}", on_threads(&library, threads, make, len)));
                println!("{name:28}{}", figures.concat());
            }
        }
    }

    fn on_threads(library: &Library, threads: usize, make: Make, len: usize) -> u64 {
        let barrier = Barrier::new(threads);
        let figures: Vec<u64> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let work = make(library, len);
                        barrier.wait();
                        median(work)
                    })
                })
                .collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        });
        figures.iter().sum::<u64>() / figures.len().max(1) as u64
    }

    fn median(mut work: impl FnMut()) -> u64 {
        let mut cycles: Vec<u64> = (0..ROUNDS)
            .map(|_| {
                let start = rdtsc();
                work();
                rdtsc() - start
            })
            .collect();
        cycles.sort_unstable();
        cycles[ROUNDS / 2] / BURST as u64
    }

    #[expect(clippy::expect_used, reason = "a benchmark without its subject cannot go on")]
    fn gcm(library: &Library, key_len: usize, len: usize, is_open: bool) -> Box<dyn FnMut()> {
        let manager = Manager::new(library).expect("memory");
        let keys: Vec<_> = (0..BURST)
            .map(|n| GcmKey::new(library, &vec![n as u8; key_len]).expect("a key of 16 or 32 bytes"))
            .collect();
        let mut packets = vec![vec![0; len]; BURST];
        let mut tags = [[0; 16]; BURST];
        Box::new(move || {
            for n in 0..BURST {
                let (iv, aad) = ([n as u8; 12], [n as u8; 8]);
                if is_open {
                    let _ = manager.gcm_open(&keys[n], &iv, &aad, &mut packets[n], &tags[n]);
                } else {
                    manager.gcm_seal(&keys[n], &iv, &aad, &mut packets[n], &mut tags[n]);
                }
            }
        })
    }

    #[expect(clippy::expect_used, reason = "a benchmark without its subject cannot go on")]
    fn gcm_cold(library: &Library, len: usize, is_fetched: bool) -> Box<dyn FnMut()> {
        const KEYS: usize = 32_768;
        const AHEAD: usize = 3;
        let manager = Manager::new(library).expect("memory");
        let keys: Vec<_> =
            (0..KEYS).map(|_| GcmKey::new(library, &[7; 16]).expect("a key of 16 or 32 bytes")).collect();
        let mut packets = vec![vec![0; len]; BURST];
        let mut tags = [[0; 16]; BURST];
        let mut start = 0;
        // Odd, so that all keys come up before one comes up again.
        let nth = move |start: usize, n: usize| (start + n).wrapping_mul(40_503) % KEYS;
        Box::new(move || {
            for n in 0..BURST {
                if is_fetched {
                    keys[nth(start, n + AHEAD)].fetch();
                }
                let (iv, aad) = ([n as u8; 12], [n as u8; 8]);
                let key = &keys[nth(start, n)];
                manager.gcm_seal(key, &iv, &aad, &mut packets[n], &mut tags[n]);
            }
            start += BURST;
        })
    }

    #[expect(clippy::expect_used, reason = "a benchmark without its subject cannot go on")]
    fn cbc(library: &Library, len: usize) -> Box<dyn FnMut()> {
        let mut manager = Manager::new(library).expect("memory");
        let keys: Vec<_> = (0..BURST)
            .map(|n| {
                let cbc = CbcKey::new(library, &[n as u8; 16]).expect("a key of 16 bytes");
                let hmac = HmacKey::new(library, Hash::Sha256, &[n as u8; 32]).expect("a key of 32 bytes");
                (cbc, hmac)
            })
            .collect();
        let mut packets = vec![vec![0; 8 + 16 + (len + 2).next_multiple_of(16) + 16]; BURST];
        Box::new(move || {
            let mut jobs: Vec<_> = packets
                .iter_mut()
                .zip(&keys)
                .map(|(packet, (cbc, hmac))| Job::seal(Keys::Cbc(cbc, hmac), packet, None))
                .collect();
            manager.run(&mut jobs);
        })
    }

    #[expect(clippy::expect_used, reason = "a benchmark without its subject cannot go on")]
    fn chacha(library: &Library, len: usize) -> Box<dyn FnMut()> {
        let mut manager = Manager::new(library).expect("memory");
        let keys: Vec<_> =
            (0..BURST).map(|n| ChaChaKey::new(&[n as u8; 32], [0; 4]).expect("a key of 32 bytes")).collect();
        let mut packets = vec![vec![0; 8 + 8 + (len + 2).next_multiple_of(4) + 16]; BURST];
        Box::new(move || {
            let mut jobs: Vec<_> = packets
                .iter_mut()
                .zip(&keys)
                .map(|(packet, key)| Job::seal(Keys::ChaCha(key), packet, None))
                .collect();
            manager.run(&mut jobs);
        })
    }
}
