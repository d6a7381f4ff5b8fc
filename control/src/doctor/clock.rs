//! The clock: sender IDs follow it, and so do lifetimes of certificates.
//!
//! This is one of the leaf modules with unsafe code: one system call.
#![allow(unsafe_code)]

use super::{Finding, Host, encrypts};
use crate::config::ValidConfig;

/// What the kernel says of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Something keeps it right.
    Synchronised,
    /// Nothing does, or not yet.
    Free,
    /// The kernel was not willing to say.
    Unknown,
}

/// Asks the kernel (adjtimex(2)); nothing is changed.
pub(super) fn read() -> Clock {
    // SAFETY: all zeros is a valid timex; modes 0 only reads.
    let mut time: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: passes one timex, which the kernel fills.
    match unsafe { libc::adjtimex(&raw mut time) } {
        -1 => Clock::Unknown,
        _ if time.status & libc::STA_UNSYNC != 0 => Clock::Free,
        _ => Clock::Synchronised,
    }
}

pub(super) fn examine(host: &Host, config: Option<&ValidConfig>) -> Finding {
    const CHECK: &str = "clock";
    const MEND: &str = "apt-get install chrony   # or, with a time server of your own in its configuration: \
        systemctl restart systemd-timesyncd; then wait until timedatectl says synchronized: yes";
    let in_fleet = config.is_some_and(|config| config.fleet.is_some());
    match host.live.clock {
        Clock::Synchronised => Finding::ok(CHECK, "it follows a time server"),
        Clock::Unknown => Finding::warning(
            CHECK,
            "the kernel does not say whether anything keeps the clock right",
            "timedatectl",
        ),
        Clock::Free if in_fleet => Finding::bad(
            CHECK,
            "nothing keeps the clock right, and one wrong clock stops new sender IDs in the whole fleet",
            MEND,
        ),
        Clock::Free if config.is_some_and(|config| !encrypts(config)) => {
            Finding::not_needed(CHECK, "nothing keeps the clock right; only IPsec needs that")
        }
        Clock::Free => {
            Finding::warning(CHECK, "nothing keeps the clock right, and sender IDs follow it", MEND)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked() {
        let said = std::process::Command::new("python3")
            .args([
                "-c",
                "import ctypes; t = ctypes.create_string_buffer(256); print(ctypes.CDLL(None).adjtimex(t))",
            ])
            .output()
            .expect("python3 runs");
        let state: i32 = String::from_utf8_lossy(&said.stdout).trim().parse().expect("a number");
        let expected = match state {
            -1 => Clock::Unknown,
            // TIME_ERROR is returned exactly when STA_UNSYNC is set, as long as no PPS signal is wanted.
            5 => Clock::Free,
            _ => Clock::Synchronised,
        };
        assert_eq!(read(), expected);
    }
}
