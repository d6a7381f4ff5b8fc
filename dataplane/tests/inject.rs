//! The kernel's frames on their way out: neither they nor forwarding waits for the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use penstock_dataplane::frame::BURST;
use penstock_dataplane::ids::*;
use support::*;

#[test]
fn the_kernels_frames_leave_under_full_load() {
    let mut lab = Lab::new();
    // The port takes only half of what is to be forwarded.
    lab.edge.limit(32);
    let answer = |number: u32| {
        let mut frame = PEER_MAC.to_vec();
        frame.extend_from_slice(&OUR_MAC);
        frame.extend_from_slice(&[0x88, 0xb5]);
        frame.extend_from_slice(&number.to_be_bytes());
        frame
    };
    let mut answered = 0;
    for round in 0..100u32 {
        for _ in 0..BURST {
            lab.rx.push(&frame(&Ip4::default().build(CLIENT, "1.2.3.4", &udp(30))));
        }
        lab.injector.inject(PortId(0), &answer(round)).unwrap();
        lab.worker.turn();
        let (edge, _) = lab.drain();
        assert_eq!(edge.len(), 32);
        answered += edge.iter().filter(|frame| **frame == answer(round)).count();
    }
    assert_eq!(answered, 100, "each in the turn after it came");
    lab.assert_balanced();
}

#[test]
fn forwarding_goes_on_whatever_the_kernel_sends() {
    let mut lab = Lab::new();
    let mut injected = 0;
    for _ in 0..100 {
        while lab.injector.inject(PortId(0), &[2; 60]).is_ok() {
            injected += 1;
        }
        for _ in 0..BURST {
            lab.rx.push(&frame(&Ip4::default().build(CLIENT, "1.2.3.4", &udp(30))));
        }
        lab.worker.turn();
        let (edge, _) = lab.drain();
        assert_eq!(edge.len(), 32 + BURST);
        // In their order.
        assert!(edge[..32].iter().all(|frame| frame.len() == 60 && frame[0] == 2));
    }
    assert_eq!(injected, 1024 + 99 * 32);
    assert!(lab.all_drops().is_empty());
    lab.assert_balanced();
}
