//! Named namespaces.

use std::fs;
use std::path::Path;

use super::super::KernelError;
use super::super::netns::Netns;
use super::*;

fn this_threads_namespace() -> String {
    fs::read_link("/proc/thread-self/ns/net").expect("readable").display().to_string()
}

#[test]
fn is_made_like_ip_netns_makes_it_and_removed_again() {
    let name = unique("made");
    let before = this_threads_namespace();
    let netns = Netns::open_or_create(&name, false).expect("made");
    assert_eq!(sh(&format!("ip netns exec {name} ls /sys/class/net")).trim(), "lo");
    let inside = netns.run(this_threads_namespace).expect("runs");
    assert_ne!(inside, before);
    assert_eq!(this_threads_namespace(), before, "the caller was moved");
    netns.close().expect("removed");
    assert!(!Path::new("/run/netns").join(&name).exists());
}

#[test]
fn one_that_was_there_stays_and_so_does_one_that_is_to_be_kept() {
    let name = unique("kept");
    let _gone = Gone(name.clone());
    Netns::open_or_create(&name, true).expect("made").close().expect("closed");
    let path = Path::new("/run/netns").join(&name);
    assert!(path.exists(), "keep");
    let again = Netns::open_or_create(&name, false).expect("opened");
    drop(again);
    assert!(path.exists(), "not ours");
}

#[test]
fn dropping_the_handle_removes_it_as_well() {
    let name = unique("dropped");
    drop(Netns::open_or_create(&name, false).expect("made"));
    assert!(!Path::new("/run/netns").join(&name).exists());
}

#[test]
fn a_leftover_file_is_named_with_the_way_to_remove_it() {
    let name = unique("stale");
    drop(Netns::open_or_create(&unique("mkdir"), false).expect("the directory exists after this"));
    let path = Path::new("/run/netns").join(&name);
    fs::write(&path, "").expect("written");
    let error = Netns::open_or_create(&name, false).expect_err("no namespace").to_string();
    fs::remove_file(&path).expect("removed");
    assert!(error.contains(&format!("rm {}", path.display())), "{error}");
}

#[test]
fn a_panic_inside_is_an_error_outside() {
    let netns = peer("panic");
    let result = netns.run(|| panic!("on purpose"));
    assert!(matches!(result, Err(KernelError::Thread(_))), "{result:?}");
}
