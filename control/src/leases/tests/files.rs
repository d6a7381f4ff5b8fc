//! Real files, real locks.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::super::error::LeaseError;
use super::super::identity::{BootId, Identity};
use super::super::keeper::{Files, Machine};
use super::super::rule::Slot;
use super::super::store::{Record, Store};
use super::super::system::{StateDir, System};
use super::super::{LeaseStore, Leases};

/// A directory in memory, as /run is.
fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn ids(leases: &mut Leases, count: usize) -> Vec<u32> {
    leases.take_many(count).unwrap().iter().map(|lease| lease.id().get()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn ids_go_on_over_restarts() {
    let (base, run) = (memory(), memory());
    let dir = base.path().join("penstock");
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let mut leases = Leases::open_with_anchor(&dir, run.path()).unwrap();
        assert!(ids(&mut leases, 16).into_iter().all(|id| seen.insert(id)));
        assert!(seen.insert(leases.next_sender().unwrap().get()));
    }
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("leases.redb")), 0o600);
    assert!(!dir.join("leases.redb.new").exists());
}

#[test]
fn a_start_that_died_before_the_store_was_there_leaves_nothing() {
    let (dir, run) = (memory(), memory());
    fs::write(dir.path().join("leases.redb.new"), "half a store").unwrap();
    ids(&mut Leases::open_with_anchor(dir.path(), run.path()).unwrap(), 1);
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let (dir, run) = (memory(), memory());
    let _first = Leases::open_with_anchor(dir.path(), run.path()).unwrap();
    let second = Leases::open_with_anchor(dir.path(), run.path());
    assert!(matches!(second, Err(LeaseError::InUse(_))));
}

#[test]
fn stores_of_one_machine_share_no_id() {
    let run = memory();
    let all: Vec<u32> = std::thread::scope(|scope| {
        let stores: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let dir = memory();
                    let mut leases = Leases::open_with_anchor(dir.path(), run.path()).unwrap();
                    (0..5).flat_map(|_| ids(&mut leases, 3)).collect::<Vec<_>>()
                })
            })
            .collect();
        stores.into_iter().flat_map(|store| store.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 60);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 60);
}

#[test]
fn no_count_is_too_small_and_some_are_too_large() {
    let (dir, run) = (memory(), memory());
    let mut leases = Leases::open_with_anchor(dir.path(), run.path()).unwrap();
    assert!(leases.take_many(0).unwrap().is_empty());
    assert!(matches!(leases.take_many(257), Err(LeaseError::TooMany(257))));
}

#[test]
fn a_damaged_store_is_never_a_new_one() {
    let (dir, run) = (memory(), memory());
    let file = dir.path().join("leases.redb");
    let newest = ids(&mut Leases::open_with_anchor(dir.path(), run.path()).unwrap(), 3)[2];
    let good = fs::read(&file).unwrap();
    let mut damaged: Vec<Vec<u8>> =
        vec![Vec::new(), good[..good.len() / 2].to_vec(), vec![0; good.len()], b"anything else".repeat(1000)];
    for at in (0..good.len()).step_by(509).chain(0..320) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x41;
        damaged.push(flipped);
    }
    let mut refused = 0;
    for contents in damaged {
        fs::write(&file, &contents).unwrap();
        match StateDir::lock(dir.path())
            .unwrap()
            .existing()
            .map(|backend| Store::open(backend.unwrap()))
            .unwrap()
        {
            // In a place that nobody reads.
            Ok(store) => assert_eq!(store.record().newest.id().get(), newest),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100, "{refused}");
    fs::write(&file, "").unwrap();
    let refused = Leases::open_with_anchor(dir.path(), run.path()).unwrap_err();
    assert!(matches!(refused, LeaseError::Unreadable { .. }));
    assert!(refused.to_string().contains("remove the file"), "{refused}");
}

#[test]
fn a_store_of_another_machine_is_refused() {
    let (dir, run) = (memory(), memory());
    {
        let files = StateDir::lock(dir.path()).unwrap();
        let machine = Identity::new([("machine-id", "of another")]);
        let record = Record { newest: Slot(1), boot: BootId("x".into()), machine };
        drop(Store::create(files.create().unwrap(), record).unwrap());
        files.publish().unwrap();
    }
    let refused = Leases::open_with_anchor(dir.path(), run.path()).unwrap_err();
    assert!(matches!(refused, LeaseError::OtherMachine { .. }));
}

#[test]
fn a_clock_that_is_far_behind_is_not_waited_for() {
    let (dir, run) = (memory(), memory());
    let mut leases = Leases::open_with_anchor(dir.path(), run.path()).unwrap();
    ids(&mut leases, 1);
    let ahead = (u64::MAX / 2).to_string();
    let anchor = run.path().join("newest");
    let text = fs::read_to_string(&anchor).unwrap();
    fs::write(&anchor, format!("{} {ahead}\n", text.split_once(' ').unwrap().0)).unwrap();
    assert!(matches!(leases.take_many(1), Err(LeaseError::ClockBehind { .. })));
}

#[test]
fn a_lost_anchor_costs_time_and_nothing_else() {
    let (dir, run) = (memory(), memory());
    let mut leases = Leases::open_with_anchor(dir.path(), run.path()).unwrap();
    let before = ids(&mut leases, 1)[0];
    for damage in ["", "nonsense\n"] {
        fs::write(run.path().join("newest"), damage).unwrap();
        let after = ids(&mut leases, 1)[0];
        // Two seconds of slots are left out; unless the IDs came round just now, they go up.
        assert!(after > before + 16 || before > 0x00ff_ff00, "{before} {after}");
    }
}

#[test]
fn the_anchor_has_to_be_in_memory() {
    let dir = memory();
    let refused = Leases::open_with_anchor(dir.path(), Path::new("/proc/sys")).unwrap_err();
    assert!(matches!(refused, LeaseError::AnchorOnDisk(_)));
}

#[test]
fn this_machine_has_a_place_for_an_anchor() {
    let dir = System::anchor_dir();
    assert!(dir.ends_with("penstock-sender-ids"));
    let machine = System::new(memory().path()).unwrap();
    assert!(machine.started().unwrap() < machine.now());
}

#[test]
fn an_anchor_that_others_may_write_is_not_trusted() {
    let (dir, run) = (memory(), memory());
    fs::set_permissions(run.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Leases::open_with_anchor(dir.path(), run.path()).unwrap_err();
    assert!(matches!(refused, LeaseError::Anchor { .. }));
}
