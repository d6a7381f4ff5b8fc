//! Fragments: cutting and putting together are inverse, and every packet is accounted for.

use arrayvec::ArrayVec;
use dpdk::ip_frag::{Limits, MAX_FRAGMENTS};
use dpdk::testing::{assert_no_leak, eal, pool};
use dpdk::{FragmentError, Mbuf, Mempool, Reassembled, Reassembler, fragment_v4, fragment_v6};

type Burst = ArrayVec<Mbuf, 16>;

const TIMEOUT: u64 = 1000;

fn reassembler() -> Reassembler {
    let _eal = eal();
    Reassembler::new(Limits { datagrams: 64, timeout_cycles: TIMEOUT, socket: None }).expect("a table")
}

fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 13 + at / 251) as u8).collect()
}

/// An IPv4 packet, without DF, with these options and a right checksum.
fn ipv4(id: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
    packet.extend(((header_len + payload.len()) as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend([0, 0, 64, 47, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn ipv6(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 1];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([47, 64]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn whole(packet: &Mbuf) -> Vec<u8> {
    let mut out = Vec::new();
    packet.copy_to(&mut out);
    out
}

fn packet(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    pool.alloc_copy(bytes).expect("a buffer")
}

/// Gives all fragments to the table, in this order, and expects a datagram from the last.
fn put_together(table: &mut Reassembler, fragments: impl Iterator<Item = Mbuf>, v6: bool) -> Mbuf {
    let mut complete = None;
    for fragment in fragments {
        assert!(complete.is_none(), "complete before the last fragment");
        match if v6 { table.reassemble_v6(fragment, 0) } else { table.reassemble_v4(fragment, 0) } {
            Reassembled::Complete(packet) => complete = Some(packet),
            Reassembled::Stored => {}
            Reassembled::Malformed => unreachable!("a good fragment"),
        }
    }
    assert_eq!((table.held(), table.take_dropped()), (0, 0));
    complete.expect("a datagram")
}

#[test]
fn v4_cut_and_put_together_is_the_identity() {
    let pool = pool("v4-identity", 511);
    let mut table = reassembler();
    for (len, mtu, reverse) in
        [(3000, 1500, false), (3000, 1500, true), (1481, 1500, false), (1400, 200, true)]
    {
        let original = ipv4(7, &[], &payload(len));
        let mut fragments = Burst::new();
        let mut source = packet(&pool, &original);
        let made = fragment_v4(&mut source, mtu, &pool, &mut fragments).expect("fragments");
        assert_eq!(whole(&source), original, "the packet itself is unchanged");
        drop(source);
        assert_eq!(made, fragments.len());
        assert_eq!(made, len.div_ceil((usize::from(mtu) - 20) & !7));
        for fragment in &fragments {
            assert!(fragment.is_contiguous() && fragment.total_len() <= usize::from(mtu));
            assert_eq!(checksum(&fragment.data()[..20]), 0, "a right header checksum");
            assert!(fragment.headroom() >= 128, "room for a tunnel header");
        }
        let mut fragments: Vec<Mbuf> = fragments.into_iter().collect();
        if reverse {
            fragments.reverse();
        }
        let together = put_together(&mut table, fragments.into_iter(), false);
        assert_eq!(usize::from(together.segment_count()), made);
        assert_eq!(whole(&together), original);
    }
    assert_no_leak(&pool);
}

#[test]
fn v6_cut_and_put_together_is_the_identity() {
    let pool = pool("v6-identity", 511);
    let mut table = reassembler();
    for (len, mtu) in [(3000, 1500), (1461, 1500), (6000, 1280)] {
        let original = ipv6(&payload(len));
        let mut fragments = Burst::new();
        let made = fragment_v6(&mut packet(&pool, &original), mtu, 0xdead_beef, &pool, &mut fragments);
        assert_eq!(made, Ok(fragments.len()));
        for fragment in &fragments {
            assert!(fragment.is_contiguous() && fragment.total_len() <= usize::from(mtu));
            assert_eq!(fragment.data()[6], 44);
            assert_eq!(fragment.data()[44..48], [0xde, 0xad, 0xbe, 0xef]);
        }
        let together = put_together(&mut table, fragments.into_iter().rev(), true);
        assert_eq!(whole(&together), original);
    }
    assert_no_leak(&pool);
}

#[test]
fn options_for_all_fragments_are_copied_and_others_stay_in_the_first() {
    let pool = pool("options", 63);
    // Record route (7, not copied), then loose source route (131, copied), then end of list.
    let options = [7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 10, 0, 0, 1, 0, 0];
    let original = ipv4(9, &options, &payload(2000));
    let mut fragments = Burst::new();
    fragment_v4(&mut packet(&pool, &original), 1000, &pool, &mut fragments).expect("fragments");
    assert_eq!(fragments[0].data()[20..36], options);
    for fragment in &fragments[1..] {
        let header = &fragment.data()[..usize::from(fragment.data()[0] & 0xf) * 4];
        assert_eq!(header[20..27], [131, 7, 4, 10, 0, 0, 1], "the copied option only");
        assert!(header[27..].iter().all(|byte| *byte <= 1), "then padding");
    }
    for fragment in &fragments {
        let header_len = usize::from(fragment.data()[0] & 0xf) * 4;
        assert_eq!(checksum(&fragment.data()[..header_len]), 0);
    }
    let mut table = reassembler();
    let together = put_together(&mut table, fragments.into_iter(), false);
    assert_eq!(whole(&together), original);
    drop(together);
    assert_no_leak(&pool);
}

#[test]
fn fragments_and_chains_are_cut_too() {
    let pool = pool("again", 127);
    let original = ipv4(3, &[], &payload(5000));
    let mut first = Burst::new();
    // 5020 bytes are a chain of three buffers.
    fragment_v4(&mut packet(&pool, &original), 1500, &pool, &mut first).expect("fragments");
    let mut second = Burst::new();
    for mut fragment in first.drain(..) {
        fragment_v4(&mut fragment, 900, &pool, &mut second).expect("fragments of fragments");
    }
    assert_eq!(second.len(), 7);
    let mut table = reassembler();
    let together = put_together(&mut table, second.into_iter(), false);
    assert_eq!(whole(&together), original);
    drop(together);
    assert_no_leak(&pool);
}

#[test]
fn what_cannot_be_cut_says_why() {
    let pool = pool("uncut", 7);
    let mut out = Burst::new();
    let mut cut = |bytes: &[u8], mtu| fragment_v4(&mut packet(&pool, bytes), mtu, &pool, &mut out);
    let good = ipv4(1, &[], &payload(1400));
    let mut marked = good.clone();
    marked[6] = 0x40;
    assert_eq!(cut(&marked, 600), Err(FragmentError::DontFragment));
    assert_eq!(cut(&good[..1000], 600), Err(FragmentError::Malformed));
    assert_eq!(cut(&[], 600), Err(FragmentError::Malformed));
    assert_eq!(cut(&good, 27), Err(FragmentError::Mtu));
    assert_eq!(cut(&good, 28), Err(FragmentError::NoRoom));
    assert_eq!(cut(&good, 100), Err(FragmentError::NoRoom));
    assert_eq!(cut(&good, 200), Err(FragmentError::NoBuffer), "eight fragments, six buffers");
    let mut v6 = packet(&pool, &ipv6(&payload(1400)));
    assert_eq!(fragment_v6(&mut v6, 1279, 1, &pool, &mut out), Err(FragmentError::Mtu));
    assert!(out.is_empty());
    drop(v6);
    assert_no_leak(&pool);
}

#[test]
fn whole_packets_pass_and_atomic_fragments_lose_their_header() {
    let pool = pool("atomic", 63);
    let mut table = reassembler();
    let mut passes = |bytes: &[u8], v6: bool, wanted: &[u8]| {
        let given = packet(&pool, bytes);
        let result = if v6 { table.reassemble_v6(given, 0) } else { table.reassemble_v4(given, 0) };
        assert!(matches!(result, Reassembled::Complete(packet) if whole(&packet) == wanted));
    };
    let plain = ipv4(1, &[], b"plain");
    passes(&plain, false, &plain);
    let plain = ipv6(b"plain");
    passes(&plain, true, &plain);
    let mut atomic = ipv6(&[&[47, 0, 0, 0, 0, 0, 0, 9], b"plain".as_slice()].concat());
    atomic[6] = 44;
    passes(&atomic, true, &plain);
    assert_eq!((table.held(), table.take_dropped()), (0, 0));
    assert_no_leak(&pool);
}

#[test]
fn link_padding_is_no_data() {
    let pool = pool("padding", 63);
    let mut table = reassembler();
    let mut out = Burst::new();
    let original = ipv4(5, &[], &payload(100));
    fragment_v4(&mut packet(&pool, &original), 92, &pool, &mut out).expect("fragments");
    for fragment in &mut out {
        fragment.append(18).expect("room").fill(0xee);
    }
    let together = put_together(&mut table, out.into_iter(), false);
    assert_eq!(whole(&together), original);
    drop(together);
    assert_no_leak(&pool);
}

#[test]
fn unfinished_datagrams_time_out_and_are_counted() {
    let pool = pool("timeout", 255);
    let mut table = reassembler();
    for id in 0..40 {
        let mut out = Burst::new();
        fragment_v4(&mut packet(&pool, &ipv4(id, &[], &payload(2000))), 1000, &pool, &mut out)
            .expect("fragments");
        // The last one never comes.
        out.pop();
        for fragment in out {
            assert!(matches!(table.reassemble_v4(fragment, 5), Reassembled::Stored));
        }
    }
    assert_eq!((table.held(), table.take_dropped()), (80, 0));
    table.expire(TIMEOUT);
    assert_eq!((table.held(), table.take_dropped()), (80, 0), "not yet");
    table.expire(5 + TIMEOUT + 1);
    assert_eq!((table.held(), table.take_dropped()), (0, 80));
    assert_no_leak(&pool);
}

#[test]
fn a_table_gives_its_fragments_back_when_it_goes() {
    let pool = pool("gone", 63);
    let mut table = reassembler();
    let mut out = Burst::new();
    fragment_v4(&mut packet(&pool, &ipv4(1, &[], &payload(2000))), 1000, &pool, &mut out).expect("fragments");
    assert!(matches!(table.reassemble_v4(out.remove(0), 5), Reassembled::Stored));
    drop((table, out));
    assert_no_leak(&pool);
}

#[test]
fn more_fragments_than_a_datagram_may_have_are_dropped_and_counted() {
    let pool = pool("many", 63);
    let mut table = reassembler();
    let mut out = Burst::new();
    let count = MAX_FRAGMENTS + 1;
    let mut original = packet(&pool, &ipv4(1, &[], &payload(80 * count)));
    fragment_v4(&mut original, 100, &pool, &mut out).expect("fragments");
    drop(original);
    assert_eq!(out.len(), count);
    let mut malformed = 0;
    for fragment in out {
        malformed += u64::from(matches!(table.reassemble_v4(fragment, 5), Reassembled::Malformed));
    }
    assert!(malformed > 0);
    assert_eq!(table.held() as u64 + table.take_dropped(), count as u64);
    drop(table);
    assert_no_leak(&pool);
}

/// Any bytes: no crash, and given = complete + held + dropped, to the packet.
#[test]
fn mutated_fragments_are_all_accounted_for() {
    let pool = pool("mutants", 2047);
    let mut table = reassembler();
    // A fixed seed: xorshift.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut given, mut complete, mut dropped) = (0u64, 0u64, 0u64);
    for round in 0..20_000u64 {
        let v6 = random(2) == 0;
        let mut out = Burst::new();
        let body = payload(1 + random(3000));
        if v6 {
            let id = random(8) as u32;
            fragment_v6(&mut packet(&pool, &ipv6(&body)), 1280, id, &pool, &mut out).expect("fragments");
        } else {
            let id = random(8) as u16;
            fragment_v4(&mut packet(&pool, &ipv4(id, &[], &body)), 600, &pool, &mut out).expect("fragments");
        }
        let mut fragment = out.swap_remove(random(out.len()));
        drop(out);
        for _ in 0..random(3) {
            let at = random(fragment.len().min(64));
            fragment.data_mut()[at] ^= 1 << random(8);
        }
        if random(4) == 0 {
            let len = random(fragment.len() + 1);
            assert!(fragment.truncate(len));
        }
        let now = round * 10;
        given += 1;
        let result = if v6 { table.reassemble_v6(fragment, now) } else { table.reassemble_v4(fragment, now) };
        if let Reassembled::Complete(packet) = result {
            complete += u64::from(packet.segment_count());
        }
        if random(50) == 0 {
            table.expire(now);
        }
        dropped += table.take_dropped();
        assert_eq!(given, complete + table.held() as u64 + dropped, "round {round}");
        assert_eq!(
            u64::from(pool.in_use()),
            table.held() as u64,
            "round {round}: what is held is what is out"
        );
    }
    assert!(complete > 100 && dropped > 100, "{complete} complete, {dropped} dropped");
    drop(table);
    assert_no_leak(&pool);
}
