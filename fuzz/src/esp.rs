//! ESP tunnels of every suite, with a peer that has the keys: the fuzzer says what is sealed, and so gets behind the
//! authentication that it would never guess its way through.

use std::cell::RefCell;

use crate::support::esp::{Agreement, Forger, Opener, agreements, mixed_tables_only};
use crate::support::{Lab, OUR_MAC, lease};
use penstock_dataplane::esp::feed::SaHandle;

/// Longest frame or payload, so that time goes into variety.
const MAX_LEN: usize = 1600;

/// To our port, whatever the frame says.
const TO_US: u8 = 1;
/// The first four bytes are tunnel, sequence number, TOS and next header; the rest is sealed.
const SEAL: u8 = 2;
/// What is sealed ends in padding, pad length and next header as it is.
const AS_IT_IS: u8 = 4;
/// One byte of the outer packet is changed: the first byte says which, the second to what.
const DAMAGE: u8 = 8;
/// Control changes an association or a lease: the first byte says what, the second whose.
const CONTROL: u8 = 16;
/// The worker makes a turn.
const TURN: u8 = 32;

struct Peers {
    agreements: Vec<Agreement>,
    forgers: Vec<Forger>,
    opener: Opener,
}

thread_local! {
    static PEERS: RefCell<Peers> = RefCell::new({
        let agreements: Vec<_> = agreements()
            .into_iter()
            .map(|agreement| Agreement { window: (agreement.number % 2 == 0).then_some(64), ..agreement })
            .collect();
        let mut opener = Opener::new();
        agreements.iter().for_each(|agreement| opener.add(agreement.spi(), agreement.cipher()));
        Peers { forgers: agreements.iter().map(Forger::of).collect(), agreements, opener }
    });
}

/// Reads `data` as steps, each behind a byte of flags and two bytes of length.
pub fn esp(data: &[u8]) {
    PEERS.with_borrow_mut(|peers| run(peers, data));
}

fn run(peers: &mut Peers, data: &[u8]) {
    let mut lab = mixed_tables_only();
    let mut inbound = Vec::new();
    for agreement in &peers.agreements {
        inbound.extend(lab.feed.add_inbound(&agreement.inbound()));
        lab.feed.set_outbound(&agreement.outbound());
    }
    lab.feed.lease(0, lease(1));
    lab.worker.turn();
    lab.worker.turn();
    let mut leases = 2;
    let mut rest = data;
    while let Some(([flags, high, low], tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])) % (MAX_LEN + 1);
        let (bytes, tail) = tail.split_at(len.min(tail.len()));
        rest = tail;
        if flags & CONTROL != 0 {
            if let [what, whose, ..] = bytes {
                control(&mut lab, peers, &mut inbound, &mut leases, *what, usize::from(*whose));
            }
        } else if let Some(frame) = frame(peers, *flags, bytes) {
            lab.rx.push(&frame);
        }
        if flags & TURN != 0 {
            turn(&mut lab, peers);
        }
    }
    while lab.worker.turn() > 0 {}
    turn(&mut lab, peers);
    lab.assert_balanced();
}

fn frame(peers: &mut Peers, flags: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let (damage, bytes) = match bytes {
        [place, value, rest @ ..] if flags & DAMAGE != 0 => (Some((*place, *value)), rest),
        _ => (None, bytes),
    };
    let mut frame = if flags & SEAL == 0 {
        bytes.to_vec()
    } else {
        let ([which, sequence, tos, next_header], payload) = bytes.split_first_chunk()?;
        let which = usize::from(*which) % peers.agreements.len();
        let forger = &mut peers.forgers[which];
        let esp = if flags & AS_IT_IS != 0 {
            forger.seal(u64::from(*sequence), payload)?
        } else {
            forger.payload(u64::from(*sequence), payload, *next_header)
        };
        peers.agreements[which].marked(*tos, &esp)
    };
    if let Some((place, value)) = damage
        && let Some(byte) = frame.get_mut(usize::from(place))
    {
        *byte = value;
    }
    if flags & TO_US != 0 && frame.len() >= 6 {
        frame[..6].copy_from_slice(&OUR_MAC);
    }
    Some(frame)
}

fn control(
    lab: &mut Lab,
    peers: &Peers,
    inbound: &mut Vec<SaHandle>,
    leases: &mut u32,
    what: u8,
    whose: usize,
) {
    let agreement = &peers.agreements[whose % peers.agreements.len()];
    match what % 6 {
        0 => drop(lab.feed.set_outbound(&agreement.outbound())),
        1 => lab.feed.clear_outbound(agreement.tunnel()),
        2 => inbound.extend(lab.feed.add_inbound(&agreement.inbound())),
        3 => {
            if !inbound.is_empty() {
                lab.feed.remove_inbound(&inbound.swap_remove(whose % inbound.len()));
            }
        }
        4 => {
            *leases += 1;
            lab.feed.lease(0, lease(*leases));
        }
        _ => lab.feed.turn(),
    }
}

/// What leaves for a customer of an ESP tunnel is ESP that opens, and nothing leaves for one in the clear.
fn turn(lab: &mut Lab, peers: &mut Peers) {
    lab.worker.turn();
    let (edge, core) = lab.drain();
    for sent in edge.iter().chain(&core) {
        assert!(sent.len() >= 14, "what we send has an Ethernet header");
        let is_v4 = sent[12..14] == [8, 0];
        let is_inside = is_v4 && sent[30..33] > [198, 51, 100][..] && sent[30..33] < [198, 51, 116][..];
        assert!(!is_inside, "in the clear");
    }
    for sent in core {
        let to_remote = sent[12..14] == [8, 0] && sent[30..33] == [192, 0, 2] && sent[33] > 77;
        let to_remote6 = sent[12..14] == [0x86, 0xdd] && sent[38..46] == [0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0];
        if to_remote || to_remote6 {
            assert!(peers.opener.open(&sent[14..]).is_some(), "not ours: {sent:02x?}");
        }
    }
    let _ = lab.punts();
}
