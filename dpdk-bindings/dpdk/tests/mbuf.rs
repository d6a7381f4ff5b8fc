//! The packet owner's operations on single buffers and on chains.

use arrayvec::ArrayVec;
use dpdk::testing::{assert_no_leak, pool};
use dpdk::{Mbuf, Mempool, PoolError, free_bulk, mempool::HEADROOM};

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 256) as u8).collect()
}

fn packet(pool: &Mempool, count: usize) -> Mbuf {
    pool.alloc_copy(&bytes(count)).expect("a buffer")
}

/// A packet in segments of these sizes.
fn chain(pool: &Mempool, sizes: &[usize]) -> Mbuf {
    let all = bytes(sizes.iter().sum());
    let mut rest = all.as_slice();
    let mut packet: Option<Mbuf> = None;
    for size in sizes {
        let (part, behind) = rest.split_at(*size);
        rest = behind;
        let segment = pool.alloc_copy(part).expect("a buffer");
        match &mut packet {
            None => packet = Some(segment),
            Some(packet) => packet.chain(segment).expect("short chain"),
        }
    }
    packet.expect("a segment")
}

fn whole(packet: &Mbuf) -> Vec<u8> {
    let mut out = Vec::new();
    packet.copy_to(&mut out);
    // What every operation must leave right.
    assert_eq!(out.len(), packet.total_len());
    assert_eq!(packet.segments().count(), usize::from(packet.segment_count()));
    assert_eq!(packet.segments().next(), Some(packet.data()));
    out
}

#[test]
fn grows_and_shrinks_at_both_ends() {
    let pool = pool("ends", 7);
    {
        let mut packet = packet(&pool, 100);
        assert_eq!((packet.headroom(), packet.tailroom()), (usize::from(HEADROOM), 1948));
        packet.prepend_array::<4>().expect("headroom").copy_from_slice(b"head");
        packet.append(4).expect("tailroom").copy_from_slice(b"tail");
        assert_eq!(whole(&packet), [b"head", bytes(100).as_slice(), b"tail"].concat());
        assert!(packet.trim_front(4) && packet.truncate(100));
        assert_eq!(whole(&packet), bytes(100));
    }
    assert_no_leak(&pool);
}

#[test]
fn narrows_to_any_part_of_one_buffer_or_of_a_chain() {
    let pool = pool("narrow", 63);
    for sizes in [&[60][..], &[20, 40], &[20, 1, 39]] {
        for front in 0..=61 {
            for len in 0..=61 {
                let mut packet = chain(&pool, sizes);
                let fits = front <= sizes[0] && front + len <= 60;
                assert_eq!(packet.narrow(front, len), fits, "{front} {len} of {sizes:?}");
                let part = if fits { front..front + len } else { 0..60 };
                assert_eq!(whole(&packet), bytes(60)[part]);
            }
        }
    }
    assert_no_leak(&pool);
}

#[test]
fn a_block_is_pushed_by_its_end() {
    let pool = pool("block", 7);
    {
        let mut packet = packet(&pool, 100);
        assert!(packet.push_block(b"....header", 6));
        assert_eq!(whole(&packet), [b"header", bytes(100).as_slice()].concat());
        assert!(packet.push_block(b"scratch", 0));
        assert_eq!(packet.headroom(), usize::from(HEADROOM) - 6);
        // Longer than the block, or the block longer than the headroom.
        assert!(!packet.push_block(b"1234", 5));
        assert!(!packet.push_block(&[0; HEADROOM as usize], 1));
        assert_eq!(whole(&packet)[..6], *b"header");
    }
    assert_no_leak(&pool);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let pool = pool("refuse", 7);
    {
        let mut packet = packet(&pool, 100);
        assert!(packet.prepend(usize::from(HEADROOM) + 1).is_none());
        assert!(packet.append(1949).is_none());
        assert!(!packet.trim_front(101));
        assert!(!packet.truncate(101));
        assert!(!packet.pullup(101));
        assert!(!packet.set_len(2049));
        assert_eq!(whole(&packet), bytes(100));
        assert!(packet.prepend(usize::from(HEADROOM)).is_some() && packet.append(1948).is_some());
        assert!(packet.prepend(1).is_none() && packet.append(1).is_none());
        assert!(packet.set_len(0) && packet.is_empty());
    }
    assert_no_leak(&pool);
}

#[test]
fn copies_into_as_many_buffers_as_needed() {
    let pool = pool("chains", 15);
    for (count, segments) in [(0, 1), (1, 1), (2048, 1), (2049, 2), (9000, 5)] {
        let packet = packet(&pool, count);
        assert_eq!(usize::from(packet.segment_count()), segments, "{count} bytes");
        assert_eq!(whole(&packet), bytes(count));
    }
    assert!(pool.alloc_copy(&bytes(16 * 2048)).is_none(), "more than the pool has");
    assert_no_leak(&pool);
}

#[test]
fn truncates_chains_at_every_length() {
    let pool = pool("truncate", 15);
    for len in 0..=60 {
        let mut packet = chain(&pool, &[20, 1, 19, 20]);
        assert!(packet.truncate(len));
        assert_eq!(whole(&packet), bytes(60)[..len]);
    }
    assert_no_leak(&pool);
}

#[test]
fn pulls_up_exactly_what_is_asked() {
    let pool = pool("pullup", 15);
    for count in 0..=60 {
        let mut packet = chain(&pool, &[20, 1, 19, 20]);
        assert!(packet.pullup(count));
        assert!(packet.len() >= count);
        assert_eq!(whole(&packet), bytes(60));
    }
    let mut short = chain(&pool, &[20, 40]);
    assert!(!short.pullup(61));
    assert!(short.linearize() && short.is_contiguous());
    assert_eq!(short.data(), bytes(60));
    let mut long = chain(&pool, &[2000, 2000]);
    assert!(!long.linearize() && !long.pullup(2049) && long.pullup(2048));
    assert_eq!(whole(&long), bytes(4000));
    drop((short, long));
    assert_no_leak(&pool);
}

#[test]
fn a_copy_is_independent() {
    let (from, to) = (pool("copy-from", 15), pool("copy-to", 15));
    {
        let mut packet = chain(&from, &[20, 40]);
        packet.set_port(3);
        let copy = packet.copy(&to).expect("a buffer");
        packet.data_mut().fill(0);
        assert_eq!((whole(&copy), copy.port()), (bytes(60), 3));
        let mut start = [0; 30];
        assert_eq!(copy.copy_out(&mut start), 30);
        assert_eq!(start, bytes(60)[..30]);
    }
    assert_no_leak(&from);
    assert_no_leak(&to);
}

#[test]
fn bursts_are_allocated_all_or_nothing_and_freed_in_one_go() {
    let pool = pool("bursts", 63);
    let mut burst = ArrayVec::<Mbuf, 64>::new();
    assert!(pool.alloc_bulk(&mut burst, 40));
    assert!(!pool.alloc_bulk(&mut burst, 24), "23 are left");
    assert!(!pool.alloc_bulk(&mut burst, 25), "no room for so many");
    assert_eq!((burst.len(), pool.in_use()), (40, 40));
    free_bulk(&mut burst);
    assert!(burst.is_empty());
    assert_no_leak(&pool);
}

#[test]
fn packets_travel_between_threads() {
    let pool = pool("threads", 63);
    let packet = packet(&pool, 100);
    let back = std::thread::spawn(move || (whole(&packet), packet)).join().expect("no panic");
    assert_eq!(back.0, bytes(100));
    drop(back);
    assert_no_leak(&pool);
}

#[test]
fn a_pool_that_cannot_be_says_why() {
    let _first = pool("twice", 7);
    let error = Mempool::new("twice", 7, 0, 2048, None).expect_err("the name is taken");
    assert!(
        matches!(error, PoolError::Create { .. }) && error.to_string().contains("exists already"),
        "{error}"
    );
    let error = Mempool::new("cache", 100, 100, 2048, None).expect_err("the cache is too large");
    assert!(error.to_string().contains("two thirds"), "{error}");
    let error = Mempool::new("vast", 1 << 22, 0, 2048, None).expect_err("9 GiB").to_string();
    assert!(error.contains("memory.size_mib"), "{error}");
}

#[test]
fn a_pool_goes_only_after_its_packets() {
    let pool = pool("late", 7);
    let packet = packet(&pool, 10);
    drop(pool);
    assert_eq!(packet.data(), bytes(10), "the memory is still there");
}
