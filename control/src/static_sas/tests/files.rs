//! Which files are opened.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

use super::{FILE, configuration};
use crate::static_sas::load;

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
