//! One story each.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::foreign::InStore;
use super::super::*;
use super::lab::{CHARON, Lab, add, id, inbound, name, outbound, policy};
use crate::fleet::outbox::{Change as Written, Flight};
use crate::fleet::record::SaRecord;
use crate::ike::protocol::{
    AddSa, Answer, Direction as Looks, ErrorCode, Installed, Limit, Mode, Request, SaFlags, UpdateSa, Usage,
};
use crate::runtime::clock;

#[tokio::test]
async fn a_tunnel_comes_up() {
    let lab = Lab::start();
    let why = |lab: &Lab| lab.gateway.parts().negotiated.why_down(&name("dc1"));
    assert_eq!(why(&lab), Some("the peer has not negotiated, see show ike"));
    let (_presence, unknown) = lab.hello(CHARON, vec![]).await;
    assert!(unknown.is_empty());
    let spi = lab.child(0x2001).await;
    assert_eq!(spi.0 >> 22, 5, "the node's number");
    for looks in [Looks::In, Looks::Forward] {
        lab.ask(policy(looks, spi.0)).await.unwrap();
    }
    lab.ask(policy(Looks::Out, 0x2001)).await.unwrap();
    assert_eq!(lab.states(), [(spi.0, State::Current), (0x2001, State::Current)]);
    assert_eq!(why(&lab), None);
    let form = lab.form();
    assert_eq!(form.remote, Some("192.0.2.77".parse().unwrap()), "where the peer negotiated from");
    assert_eq!(form.udp, Some(UdpPorts { local: 4500, remote: 4500 }));
    assert_eq!(form.suites.iter().map(|suite| suite.name()).collect::<Vec<_>>(), ["aes128gcm16"]);
    let journal = lab.journal();
    assert_eq!(journal.len(), 2);
    for file in journal {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn charon_hears_that_an_inbound_sa_is_there_when_all_workers_have_it() {
    let lab = Lab::start();
    let spi = lab.spi().await;
    lab.gateway.obedient.store(false, Ordering::Relaxed);
    let asked = lab.ask(add(inbound(spi.0)));
    let let_them = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(lab.states().len(), 1, "it is on its way");
        lab.gateway.obedient.store(true, Ordering::Relaxed);
    };
    let begun = std::time::Instant::now();
    let (answer, ()) = tokio::join!(asked, let_them);
    answer.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn an_sa_that_workers_do_not_take_is_refused_in_time() {
    let lab = Lab::start();
    let spi = lab.spi().await;
    lab.gateway.obedient.store(false, Ordering::Relaxed);
    let begun = std::time::Instant::now();
    let refused = lab.ask(add(inbound(spi.0))).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Internal);
    assert!(refused.reason.contains("show cores"), "{refused}");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(lab.states(), [(spi.0, State::Retiring)]);
}

#[tokio::test]
async fn a_rekey_goes_over_when_the_peer_shows_it() {
    let lab = Lab::start();
    let first = lab.child(0x2001).await;
    lab.ask(policy(Looks::Out, 0x2001)).await.unwrap();
    let second = lab.child(0x2002).await;
    lab.turn();
    assert_eq!(lab.states()[2..], [(0x2001, State::Current), (0x2002, State::Pending)]);
    lab.count(second.0, 1, 100);
    lab.turn();
    assert_eq!(lab.states()[2..], [(0x2001, State::Retiring), (0x2002, State::Current)]);
    lab.ask(policy(Looks::Out, 0x2002)).await.unwrap();
    lab.ask(Request::DelSa(id(false, 0x2001))).await.unwrap();
    lab.ask(Request::DelSa(id(true, first.0))).await.unwrap();
    let states = [(first.0, State::Retiring), (second.0, State::Current), (0x2002, State::Current)];
    assert_eq!(lab.states(), states);
    assert_eq!(lab.journal().len(), 3, "what is received still comes back after a restart");
}

#[tokio::test]
async fn a_restart_brings_all_back() {
    let lab = Lab::start();
    let first = lab.child(0x2001).await;
    lab.ask(policy(Looks::Out, 0x2001)).await.unwrap();
    let second = lab.child(0x2002).await;
    lab.ask(Request::DelSa(id(true, first.0))).await.unwrap();
    lab.count(0x2001, 77, 7700);
    let before = (lab.states(), lab.form());
    let lab = lab.restart().await;
    assert_eq!((lab.states(), lab.form()), before);
    // The same charon goes on; what it has is here, what was deleted meanwhile goes.
    lab.ask(Request::QuerySa(id(false, 0x2001))).await.unwrap();
    let there = |inbound, spi| Installed { inbound, id: id(inbound, spi) };
    let list =
        vec![there(true, second.0), there(false, 0x2001), there(false, 0x2002), there(true, 0x0140_0001)];
    let (_presence, unknown) = lab.hello(CHARON, list).await;
    assert_eq!(unknown, [id(true, 0x0140_0001)]);
    lab.ask(policy(Looks::Out, 0x2002)).await.unwrap();
    lab.ask(Request::DelSa(id(false, 0x2001))).await.unwrap();
    assert_eq!(lab.journal().len(), 3);
    let states = lab.states();
    let lab = lab.restart().await;
    assert_eq!(lab.states(), states);
}

#[tokio::test]
async fn charon_is_asked_for_a_rekey_and_told_of_the_end() {
    let lab = Lab::start();
    let spi = lab.child(0x2001).await;
    let list = [(true, spi.0), (false, 0x2001)];
    let list = list.map(|(inbound, spi)| Installed { inbound, id: id(inbound, spi) });
    let (mut presence, unknown) = lab.hello(CHARON, list.to_vec()).await;
    assert!(unknown.is_empty());
    lab.count(spi.0, 10, 900_000);
    lab.turn();
    assert_eq!(presence.event().await, Event::Expire { id: id(true, spi.0), hard: false });
    let usage = lab.ask(Request::QuerySa(id(true, spi.0))).await.unwrap();
    assert!(matches!(usage, Answer::Usage(Usage { bytes: 900_000, packets: 10, idle_s: Some(_) })));
    lab.count(spi.0, 11, 1_000_000);
    lab.turn();
    assert_eq!(presence.event().await, Event::Expire { id: id(true, spi.0), hard: true });
    assert_eq!(lab.states()[0], (spi.0, State::Stopped));
    assert_eq!(lab.journal().len(), 1, "it does not come back");
}

#[tokio::test]
async fn a_peer_moves_by_its_packets_or_by_charon() {
    let lab = Lab::start();
    let (mut presence, _) = lab.hello(CHARON, vec![]).await;
    let spi = lab.child(0x2001).await;
    let peer = Peer { address: "198.51.100.9".parse().unwrap(), port: 31_000 };
    let number = lab.gateway.parts().compiler.tunnel_id(&name("dc1").0, &name("dc1").1).unwrap();
    assert!(lab.gateway.with(|negotiated, gear| negotiated.peer_moved(number, spi.0, peer, gear)));
    let remote = "198.51.100.9:31000".parse().unwrap();
    assert_eq!(presence.event().await, Event::Mapping { id: id(true, spi.0), remote });
    assert!(
        !lab.gateway.with(|negotiated, gear| negotiated.peer_moved(number, spi.0, peer, gear)),
        "no news"
    );
    for inbound in [true, false] {
        let id = id(inbound, if inbound { spi.0 } else { 0x2001 });
        let (src, dst) = if inbound { (remote, id.dst) } else { (id.src, remote) };
        let change = UpdateSa { id, src, dst, encap: true, new_encap: true, new_reqid: 0 };
        lab.ask(Request::UpdateSa(change)).await.unwrap();
    }
    let form = lab.form();
    assert_eq!((form.remote, form.udp.unwrap().remote), (Some(peer.address), peer.port));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_tunnel_and_the_reason() {
    let lab = Lab::start();
    let spi = lab.spi().await.0;
    let good = || inbound(spi);
    let opaque = |mut sa: AddSa| {
        (sa.src_ts[0].from_port, sa.src_ts[0].to_port) = (u16::MAX, 0);
        sa
    };
    for (sa, reason) in [
        (AddSa { mode: Mode::Transport, ..good() }, "tunnel acme/dc1: mode Transport is not supported"),
        (AddSa { encryption: 30, ..good() }, "tunnel acme/dc1: an implicit IV"),
        (
            AddSa { flags: SaFlags { esn: true, ..good().flags }, ..good() },
            "tunnel acme/dc1: extended sequence",
        ),
        (
            AddSa { src_ts: vec![good().src_ts[0]; 65], ..good() },
            "tunnel acme/dc1: 1 and 65 traffic selectors",
        ),
        (opaque(good()), "tunnel acme/dc1: the peer insists on a traffic selector with opaque ports"),
        (AddSa { reqid: 9, ..good() }, "no tunnel of the configuration has reqid 9"),
        (AddSa { reqid: 0, ..good() }, "no tunnel of the configuration has reqid 0"),
    ] {
        let refused = lab.ask(add(sa)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Refused);
        assert!(refused.reason.starts_with(reason), "{refused}");
    }
    assert!(lab.states().is_empty() && lab.journal().is_empty());
    lab.ask(Request::DelSa(id(true, spi))).await.unwrap();
    let refused = lab.ask(Request::DelSa(id(true, spi))).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_new_charon_takes_over_when_it_has_negotiated() {
    let lab = Lab::start();
    let spi = lab.child(0x2001).await;
    let other = Instance(7);
    let refused = lab.ask_as(other, add(outbound(0x2002))).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotReady);
    let (_presence, _) = lab.hello(other, vec![]).await;
    assert_eq!(lab.states(), [(spi.0, State::Orphan), (0x2001, State::Orphan)]);
    let lab = lab.restart().await;
    let (_presence, _) = lab.hello(other, vec![]).await;
    lab.ask_as(other, add(outbound(0x2002))).await.unwrap();
    lab.ask_as(other, policy(Looks::Out, 0x2002)).await.unwrap();
    assert_eq!(lab.states(), [(spi.0, State::Retiring), (0x2002, State::Current)]);
    lab.ask_as(other, Request::FlushSas).await.unwrap();
    assert_eq!(lab.states(), [(spi.0, State::Retiring)]);
}

#[tokio::test]
async fn a_tunnel_that_goes_takes_its_sas_along() {
    let lab = Lab::start();
    let (mut presence, _) = lab.hello(CHARON, vec![]).await;
    let spi = lab.child(0x2001).await;
    let without =
        super::lab::CONFIG.lines().filter(|line| !line.contains("dc1")).collect::<Vec<_>>().join("\n");
    lab.gateway.with(|negotiated, gear| {
        gear.compiler.configure(crate::config::parse_str(&without).unwrap());
        negotiated.set_tunnels(gear);
    });
    assert!(lab.states().is_empty() && lab.journal().is_empty());
    assert_eq!(presence.event().await, Event::Expire { id: id(true, spi.0), hard: true });
}

#[tokio::test]
async fn a_limit_that_charon_does_not_give_is_none() {
    let lab = Lab::start();
    let spi = lab.spi().await.0;
    let mut sa = inbound(spi);
    (sa.lifetimes.seconds, sa.lifetimes.bytes) = (Limit::default(), Limit::default());
    lab.ask(add(sa)).await.unwrap();
    lab.count(spi, u64::MAX / 2, u64::MAX / 2);
    lab.turn();
    assert_eq!(lab.states(), [(spi, State::Current)]);
}

/// What a node that reads the whole store writes then. The store has these records, of version 1.
fn shared(lab: &Lab, revision: u64, store: &[Flight]) -> Vec<Flight> {
    let listed = store.iter().map(|Flight { change, .. }| {
        let Written::Put(bytes) = change else { panic!("nothing was written") };
        let record = SaRecord::decode(bytes).unwrap();
        InStore { name: record.name(), revision: 1, version: 1, record: Some(record) }
    });
    lab.gateway.with(|negotiated, gear| {
        negotiated.share(Arc::default());
        let unusable = negotiated.listed_in_store(revision, listed.collect(), false, gear, clock::moment());
        assert!(unusable.is_empty());
        negotiated.sharing().unwrap().outbox.take(10, 1 << 20)
    })
}

#[tokio::test]
async fn what_other_nodes_did_not_hear_of_they_hear_after_a_restart() {
    let lab = Lab::start();
    let spi = lab.child(0x2001).await;
    let store = shared(&lab, 1, &[]);
    assert_eq!(store.len(), 2);
    // The store is away when charon deletes one, and then control ends.
    lab.ask(Request::DelSa(id(false, 0x2001))).await.unwrap();
    let lab = lab.restart().await;
    let flights = shared(&lab, 2, &store);
    let deleted: Vec<_> = flights.iter().filter(|flight| flight.change == Written::Delete).collect();
    assert_eq!((deleted.len(), deleted[0].from), (1, 1));
    assert!(deleted[0].key.ends_with("acme/dc1/o-00002001"), "{}", deleted[0].key);
    assert_eq!(lab.gateway.parts().negotiated.own_count(), 1);
    // The last one, and nothing is in the journal any more.
    lab.gateway.parts().on(|negotiated, gear| {
        let charon = negotiated.sad.sas().next().unwrap().charon;
        negotiated.delete(charon, &id(true, spi.0), gear, clock::moment()).unwrap();
        let later = clock::moment();
        let later = Moment { uptime: later.uptime + crate::ike::sad::GRACE, ..later };
        negotiated.turn(gear, later);
    });
    let lab = lab.restart().await;
    assert!(lab.journal().is_empty());
    assert_eq!(shared(&lab, 3, &store).iter().filter(|flight| flight.change == Written::Delete).count(), 2);
}

#[tokio::test]
async fn what_a_lost_journal_had_is_as_good_as_another_nodes() {
    let lab = Lab::start();
    lab.child(0x2001).await;
    let store = shared(&lab, 1, &[]);
    let run = lab.directory.path().join("run");
    std::fs::remove_dir_all(run.join("sas")).unwrap();
    std::fs::remove_file(run.join("sas.id")).unwrap();
    let lab = lab.restart().await;
    assert_eq!(shared(&lab, 2, &store).len(), 0);
    let parts = lab.gateway.parts();
    assert_eq!(parts.negotiated.foreign_sas(&name("dc1")).count(), 2);
}
