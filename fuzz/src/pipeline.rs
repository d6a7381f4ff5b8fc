//! The whole data path on heap buffers: any frames, in any order, and every one of them is accounted for.

use std::sync::Arc;

use crate::support::OUR_MAC;
use crate::support::esp::mixed;
use crate::support::fleet::{OTHER, OWNER, Site, TOKEN, rescue};
use penstock_dataplane::watch::{Drops, Session, WatchSpec};
use penstock_dataplane::wire::checksum;

/// Longest frame, so that time goes into variety.
const MAX_FRAME: usize = 1600;
const EVERYTHING: WatchSpec =
    WatchSpec { snaplen: 2048, outer: true, inner: true, tunnel: None, drops: Drops::Any, waiting: 64 };

/// Reads `data` as frames, each behind a byte of flags and two bytes of length, and feeds them to a worker with tunnels of
/// all kinds.
///
/// Flag 1: addressed to our port. Flag 2: the IPv4 header's checksum is mended, so that it is not all that
/// the fuzzer ever finds. Flag 4: another node of the fleet hands over what is behind the Ethernet header. Flag 8, of the first
/// frame: somebody watches.
pub fn pipeline(data: &[u8]) {
    let mut lab = mixed();
    let session = data.first().is_some_and(|flags| flags & 8 != 0).then(|| Session::new(1, EVERYTHING, 1));
    if let Some((session, _)) = &session {
        lab.publisher.watch(vec![Arc::clone(session)]);
        lab.change(|_| {});
    }
    let mut rest = data;
    while let Some(([flags, high, low], tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])) % (MAX_FRAME + 1);
        let (bytes, tail) = tail.split_at(len.min(tail.len()));
        rest = tail;
        let mut frame = bytes.to_vec();
        if flags & 1 != 0 && frame.len() >= 6 {
            frame[..6].copy_from_slice(&OUR_MAC);
        }
        if flags & 2 != 0 {
            mend(&mut frame);
        }
        if flags & 4 != 0 {
            let packet = frame.get(14..).unwrap_or_default();
            frame = Site::v4(OTHER).sends(Site::v4(OWNER), &rescue(&TOKEN, packet));
        }
        lab.rx.push(&frame);
    }
    for _ in 0..=data.len() / 3 / 32 {
        lab.worker.turn();
        let (edge, core) = lab.drain();
        for sent in edge.iter().chain(&core) {
            assert!(sent.len() >= 14, "what we send has an Ethernet header");
        }
    }
    let _ = lab.punts();
    lab.assert_balanced();
    if let Some((session, mut rings)) = session {
        let caught = std::iter::from_fn(|| rings.take(0)).count() as u64;
        assert_eq!(
            caught + session.missed(),
            session.seen(),
            "each packet that was begun has come to its end"
        );
    }
}

fn mend(frame: &mut [u8]) {
    let Some(header) = frame.get_mut(14..) else { return };
    let len = usize::from(header.first().copied().unwrap_or_default() & 15) * 4;
    if len < 20 || header.len() < len {
        return;
    }
    header[10..12].fill(0);
    let sum = checksum::checksum(&header[..len]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
