//! Which files are opened.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use super::{FILE, configuration};
use crate::leases::MAX_KEY_LIFE;
use crate::static_sas::{load, load_at};

#[test]
fn only_a_regular_file_that_nobody_else_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sas.yaml");
    let name = path.display();
    let refused = || load(&path, &configuration()).err().expect("it is read")[0].to_string();
    assert_eq!(
        refused(),
        format!(
            "{name}: cannot be read: No such file or directory (os error 2); check the path, and who may read it"
        )
    );
    write(&path, FILE).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660, 0o601] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            refused(),
            format!("{name}: has mode {mode:04o}: other users may read the keys; chmod 600 {name}")
        );
    }
    for mode in [0o600, 0o400] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(load(&path, &configuration()).ok().unwrap().len(), 5);
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(refused(), format!("{name}: is not a regular file; write the keys into a file"));
    std::fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(refused(), format!("{name}: is not a regular file; write the keys into a file"));
}

#[test]
fn another_users_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sas.yaml");
    write(&path, FILE).unwrap();
    set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    if std::os::unix::fs::chown(&path, Some(4711), None).is_err() {
        // Only root can give a file away.
        return;
    }
    let problems = load(&path, &configuration()).err().unwrap();
    assert!(problems[0].message.starts_with("belongs to user 4711"), "{}", problems[0]);
    assert!(problems[0].fix.starts_with("chown "), "{}", problems[0]);
}

#[test]
fn places_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sas.yaml");
    write(&path, FILE.replace("0x1001", "7")).unwrap();
    set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let problems = load(&path, &configuration()).err().unwrap();
    assert!(problems[0].to_string().starts_with(&format!("{}:5:15: tunnels.acme/dc1", path.display())));
}

#[test]
fn an_old_file_has_nothing_to_send_under() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sas.yaml");
    let written = SystemTime::now() - Duration::from_secs(7);
    let write_dated = |text: &str| {
        write(&path, text).unwrap();
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(written).unwrap();
    };
    let problems = |now| load_at(&path, &configuration(), now).err().map(|problems| problems[0].to_string());
    write_dated(FILE);
    assert_eq!(load(&path, &configuration()).ok().unwrap().written(), Some(written));
    assert_eq!(problems(written + (MAX_KEY_LIFE - Duration::from_secs(1))), None);
    let refused = |days| {
        let name = path.display();
        Some(format!(
            "{name}: was last written {days} days ago, and we may send under a key for 21 days only; write new keys for \
             each outbound, here and at the peer"
        ))
    };
    assert_eq!(problems(written + MAX_KEY_LIFE), refused(21));
    assert_eq!(problems(written + MAX_KEY_LIFE * 2), refused(42));
    assert_eq!(problems(written - Duration::from_secs(60)), None, "the clock is behind");
    // Written again: the keys may still be the old ones, which is for who writes the file to know.
    let again = written + MAX_KEY_LIFE;
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(again).unwrap();
    assert_eq!(problems(again), None);
    // What is received makes no IVs here.
    write_dated(
        "tunnels: {acme/dc2: {inbound: [{spi: 0x1003, cipher: aes128gcm16, key: 0x00112233445566778899aabbccddeeff01020304}]}}",
    );
    assert_eq!(problems(written + MAX_KEY_LIFE * 2), None);
}
