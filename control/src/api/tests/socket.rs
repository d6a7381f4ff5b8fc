//! Who may open the socket, and that only one daemon has it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::unistd::Uid;

use super::fake::Fake;
use super::{Running, socket_in};
use crate::api::*;
use crate::local_socket::BindError;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_directory_and_the_socket_are_the_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_in(directory.path());
    let socket = bind(&path).unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(socket.path(), path);
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn a_live_daemon_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_in(directory.path());
    let first = bind(&path).unwrap();
    let refused = bind(&path).unwrap_err();
    let BindError::AlreadyRunning { pid, .. } = &refused else { unreachable!("{refused}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(refused.to_string().contains("stop it first"), "{refused}");
    assert!(path.exists());
    drop(first);
    drop(bind(&path).unwrap());
}

#[test]
fn a_dead_daemons_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "what a killed daemon leaves behind");
    let socket = bind(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(socket);
}

#[test]
fn what_is_not_ours_is_never_removed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file).unwrap_err(), BindError::NotASocket { .. }));
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    assert!(matches!(bind(&link).unwrap_err(), BindError::NotASocket { .. }));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let other = directory.path().join("other.sock");
    let _listener = UnixListener::bind(&other).unwrap();
    assert!(matches!(bind(&other).unwrap_err(), BindError::Foreign { .. }));
    assert!(other.exists());
}

#[test]
fn a_directory_that_strangers_may_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let path = directory.path().join("api.sock");
    assert!(matches!(bind(&path).unwrap_err(), BindError::UnsafeDirectory { mode: 0o777, .. }));
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    drop(bind(&path).unwrap());
}

#[test]
fn a_path_beyond_a_socket_addresss_length_is_refused() {
    let long = std::env::temp_dir().join("x".repeat(120)).join("api.sock");
    assert!(matches!(bind(&long).unwrap_err(), BindError::TooLong { .. }));
    assert!(!long.parent().unwrap().exists());
}

/// Needs root, to become somebody else. The other user is this test program again, as `nobody`.
#[tokio::test]
async fn another_user_is_refused_even_when_the_mode_was_widened() {
    const SOCKET: &str = "PENSTOCK_TEST_SOCKET";
    const NOBODY: u32 = 65_534;
    if let Some(path) = std::env::var_os(SOCKET) {
        let error = Client::new(path).ports().await.unwrap_err();
        eprintln!("answer: {error:?}");
        return;
    }
    if !Uid::effective().is_root() {
        eprintln!("skipped: not root, cannot become another user");
        return;
    }
    let running = Running::start(Arc::new(Fake::default()));
    let ask_as_nobody = async || {
        let mut program = Command::new("/proc/self/exe");
        // The program is opened before the user changes, so its directory need not be open to others.
        program.args(["--exact", "--nocapture"]);
        program.arg("api::tests::socket::another_user_is_refused_even_when_the_mode_was_widened");
        program.env(SOCKET, running.socket()).current_dir("/").uid(NOBODY).gid(NOBODY);
        let output = tokio::task::spawn_blocking(move || program.output()).await.unwrap().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };

    let answer = ask_as_nobody().await;
    assert!(answer.contains("answer: Denied"), "by the mode: {answer}");
    for directory in [running.directory.path(), running.socket().parent().unwrap()] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(running.socket(), Permissions::from_mode(0o666)).unwrap();
    let answer = ask_as_nobody().await;
    assert!(answer.contains("code: Forbidden"), "by the peer's user id: {answer}");
    running.stop().await;
}
