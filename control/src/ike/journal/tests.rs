//! Records through restarts, crashes and damage.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;
use proptest::option;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::Name;
use crate::ike::protocol::tests::{add_sa, an_sa};
use crate::ike::protocol::{AddSa, DecodeError, Instance, SaFlags, SaId};

fn record(spi: u32) -> Record {
    let sa = add_sa();
    Record {
        tunnel: (Name::new("acme").unwrap(), Name::new("dc1").unwrap()),
        charon: Instance(0xcccc),
        installed: BootTime(Duration::from_millis(1500)),
        state: State::Current,
        paired: Some(Spi(0x1234_5678)),
        progress: Progress::default(),
        sa: AddSa { id: SaId { spi: Spi(spi), ..sa.id }, ..sa },
    }
}

fn a_record() -> impl Strategy<Value = Record> {
    let time = || (0..u64::MAX).prop_map(|ns| BootTime(Duration::from_nanos(ns)));
    let state = prop_oneof![
        Just(State::Pending),
        Just(State::Current),
        time().prop_map(|until| State::Retiring { until }),
    ];
    let name = || "[a-z0-9][a-zA-Z0-9_-]{0,62}".prop_map(|name| Name::new(&name).unwrap());
    let progress =
        any::<[u64; 3]>().prop_map(|[sequence, bytes, packets]| Progress { sequence, bytes, packets });
    let paired = option::of((Spi::FIRST.0..).prop_map(Spi));
    ((name(), name()), any::<u64>(), time(), state, paired, progress, an_sa()).prop_map(
        |(tunnel, charon, installed, state, paired, progress, sa)| Record {
            tunnel,
            charon: Instance(charon),
            installed,
            state,
            paired,
            progress,
            sa,
        },
    )
}

proptest! {
    #[test]
    fn records_come_back(record in a_record()) {
        let bytes = record.encode("a boot").unwrap();
        prop_assert_eq!(Record::decode(&bytes), Ok(("a boot".to_owned(), record)));
    }

    #[test]
    fn damage_is_noticed_or_does_no_harm(
        record in a_record(), bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = record.encode("a boot").unwrap();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert_eq!(Record::decode(&longer), Err(DecodeError::Trailing(1).into()));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok((boot, other)) = Record::decode(&bytes) {
            let again = other.encode(&boot).unwrap();
            prop_assert_eq!(again.as_slice(), bytes.as_slice());
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Record::decode(&bytes).is_err());
        let whole = record(0x1000).encode("a boot").unwrap();
        let mut damaged = whole[..64].to_vec();
        damaged.extend_from_slice(&bytes);
        let _ = Record::decode(&damaged);
    }
}

#[test]
fn seeds_that_were_made_by_hand_are_records() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions/sa_record");
    let until = BootTime(Duration::from_secs(5));
    let states =
        [("current", State::Current), ("retiring", State::Retiring { until }), ("pending", State::Pending)];
    for (name, state) in states {
        let bytes = fs::read(seeds.join(name)).unwrap();
        let (boot, record) = Record::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(boot, "62c7ae4f-5d1b-4d6a-a9c5-2f0a1b7c8d9e");
        assert_eq!((record.state, record.tunnel.1.as_str()), (state, "dc1"));
        assert_eq!(record.progress, Progress { sequence: 1 << 33, bytes: 1500, packets: 1 });
        assert_eq!(record.encode(&boot).unwrap().as_slice(), bytes);
    }
}

/// A directory for a journal, and what is in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("run/sas")
    }

    fn open(&self) -> (Journal, Found) {
        Journal::open(&self.path()).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A second name for a file, under which its bytes can be seen when it is gone.
    fn link(&self, name: &str) -> PathBuf {
        let link = self.0.path().join("link");
        let _ = fs::remove_file(&link);
        fs::hard_link(self.path().join(name), &link).unwrap();
        link
    }
}

fn records(found: &Found) -> Vec<&Record> {
    found.records.iter().map(|(_, record)| record).collect()
}

fn is_wiped(file: &Path) -> bool {
    let bytes = fs::read(file).unwrap();
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0)
}

#[test]
fn a_restart_finds_everything_in_its_order() {
    let place = Place::new();
    let (mut journal, found) = place.open();
    assert!(found.records.is_empty());
    let outbound = Record {
        state: State::Retiring { until: BootTime(Duration::from_secs(9)) },
        sa: AddSa { flags: SaFlags { inbound: false, ..SaFlags::default() }, ..record(0x2000).sa },
        ..record(0x2000)
    };
    let first = journal.add(&record(0x9000)).unwrap();
    let second = journal.add(&outbound).unwrap();
    let third = journal.add(&record(0x1000)).unwrap();
    assert_eq!(
        place.files(),
        [
            "0000000000000000.acme.dc1.in.00009000",
            "0000000000000001.acme.dc1.out.00002000",
            "0000000000000002.acme.dc1.in.00001000"
        ]
    );
    drop(journal);
    let (journal, found) = place.open();
    assert_eq!(records(&found), [&record(0x9000), &outbound, &record(0x1000)]);
    assert_eq!(found.records[1].0, second);
    assert_eq!((found.unreadable, found.outdated), (0, 0));

    let changed = Record { state: State::Pending, ..record(0x9000) };
    journal.replace(&first, &changed).unwrap();
    let progress = Progress { sequence: 1 << 40, bytes: 2, packets: 3 };
    journal.set_progress(&second, &progress).unwrap();
    journal.remove(third).unwrap();
    drop(journal);
    let (mut journal, found) = place.open();
    assert_eq!(records(&found), [&changed, &Record { progress, ..outbound }]);
    journal.add(&record(0x3000)).unwrap();
    assert_eq!(place.files()[2], "0000000000000002.acme.dc1.in.00003000");
}

#[test]
fn only_we_can_read_it_and_only_one_of_us() {
    let place = Place::new();
    fs::create_dir_all(place.path()).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let (mut journal, _) = place.open();
    journal.add(&record(0x1000)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&place.path()), 0o700);
    assert_eq!(mode(&place.path().join(&place.files()[0])), 0o600);
    let second = Journal::open(&place.path()).unwrap_err();
    assert!(matches!(second, RunDirectoryError::InUse(_)), "{second}");
    drop(journal);
    place.open();
}

#[test]
fn keys_are_overwritten_before_they_go() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    let entry = journal.add(&record(0x1000)).unwrap();
    let name = place.files().remove(0);
    let old = place.link(&name);
    assert!(!is_wiped(&old));
    journal.replace(&entry, &record(0x1000)).unwrap();
    assert!(is_wiped(&old));
    let new = place.link(&name);
    journal.remove(entry).unwrap();
    assert!(is_wiped(&new));
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn what_a_crash_leaves_is_finished() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    journal.add(&record(0x1000)).unwrap();
    journal.add(&record(0x2000)).unwrap();
    drop(journal);
    let [first, second] = place.files().try_into().unwrap();
    // Before a record had its name.
    fs::copy(place.path().join(&first), place.path().join(TEMPORARY)).unwrap();
    // Between wiping and removing, and in the midst of wiping.
    let bytes = fs::read(place.path().join(&first)).unwrap();
    fs::write(place.path().join("00000000000000aa.acme.dc1.in.00000aaa"), vec![0; bytes.len()]).unwrap();
    let half = [&[0; 40][..], &bytes[40..]].concat();
    fs::write(place.path().join("00000000000000bb.acme.dc1.in.00000bbb"), half).unwrap();
    let link = place.link("00000000000000bb.acme.dc1.in.00000bbb");
    let (mut journal, found) = place.open();
    assert_eq!(records(&found), [&record(0x1000), &record(0x2000)]);
    assert_eq!(found.unreadable, 0);
    assert_eq!(place.files(), [first, second]);
    assert!(is_wiped(&link));
    journal.add(&record(0x3000)).unwrap();
    assert_eq!(place.files()[2], "00000000000000bc.acme.dc1.in.00003000", "no name comes twice");
}

#[test]
fn what_cannot_be_read_is_set_aside_once_and_stops_nothing() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    journal.add(&record(0x1000)).unwrap();
    drop(journal);
    let good = place.files().remove(0);
    let bytes = fs::read(place.path().join(&good)).unwrap();
    fs::write(place.path().join("1.cut"), &bytes[..100]).unwrap();
    fs::write(place.path().join("2.empty"), "").unwrap();
    fs::write(place.path().join("3.other"), "something else").unwrap();
    fs::write(place.path().join("4.large"), vec![1; 200_000]).unwrap();
    let future = Record { installed: BootTime::read().after(Duration::from_secs(60)), ..record(0x2000) };
    let boot = BootId::read().unwrap();
    fs::write(place.path().join("5.future"), future.encode(boot.as_str()).unwrap()).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path().join("6.link")).unwrap();
    fs::create_dir(place.path().join("7.directory")).unwrap();

    let (journal, found) = place.open();
    assert_eq!(records(&found), [&record(0x1000)]);
    assert_eq!(found.unreadable, 7);
    assert_eq!(place.files().iter().filter(|name| name.ends_with(SET_ASIDE)).count(), 7);
    drop(journal);
    let link = place.link(&format!("1.cut{SET_ASIDE}"));
    let (_, found) = place.open();
    assert_eq!((found.records.len(), found.unreadable), (1, 0));
    assert!(is_wiped(&link));
    let left = [good, format!("6.link{SET_ASIDE}"), format!("7.directory{SET_ASIDE}")];
    assert_eq!(place.files(), left, "what is no file is not ours to remove");
}

#[test]
fn another_run_of_the_machine_left_nothing_of_use() {
    let place = Place::new();
    drop(place.open());
    let file = place.path().join("0.acme.dc1.in.00001000");
    fs::write(&file, record(0x1000).encode("another boot").unwrap()).unwrap();
    let link = place.link("0.acme.dc1.in.00001000");
    let (_, found) = place.open();
    assert_eq!((found.records.len(), found.unreadable, found.outdated), (0, 0, 1));
    assert!(is_wiped(&link));
    assert!(!file.exists());
}

#[test]
fn a_failed_write_is_said() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    let entry = journal.add(&record(0x1000)).unwrap();
    fs::remove_dir_all(place.path()).unwrap();
    for error in [
        journal.set_progress(&entry, &Progress::default()).unwrap_err(),
        journal.replace(&entry, &record(0x1000)).unwrap_err(),
        journal.add(&record(0x1000)).unwrap_err(),
        journal.remove(entry).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("dc1.in.00001000") && error.contains("ike.run"), "{error}");
    }
}

#[test]
fn a_journal_keeps_its_name_for_as_long_as_it_is_whole() {
    let place = Place::new();
    let file = place.0.path().join("run/sas.id");
    let id = |place: &Place| place.open().1.id;
    let first = id(&place);
    assert_eq!(id(&place), first, "empty as it is");
    place.open().0.add(&record(0x1000)).unwrap();
    assert_eq!(id(&place), first);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    // Some of it is lost, or all of it.
    fs::write(place.path().join("1.cut"), "x").unwrap();
    let second = id(&place);
    assert_ne!(second, first);
    assert_eq!(id(&place), second, "that was said");
    fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
    let third = id(&place);
    assert!(third != first && third != second);
    // What is no name, or that of another run of the machine.
    let text = fs::read_to_string(&file).unwrap();
    let boot = BootId::read().unwrap();
    for damaged in [
        String::new(),
        text.replace(boot.as_str(), "another"),
        text.trim_end().to_owned(),
        text.replace(' ', " +"),
        "x".repeat(1000),
    ] {
        fs::write(&file, &damaged).unwrap();
        assert_ne!(id(&place), third, "{damaged}");
    }
    fs::write(&file, text).unwrap();
    assert_eq!(id(&place), third);
}
