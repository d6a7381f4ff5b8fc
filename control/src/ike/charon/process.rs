//! The process of charon: started in the twins' namespace, or found again after a crash of ours.
//!
//! It is held by a pidfd, so that no signal can ever reach another process that got its number.
//! This is one of the leaf modules with unsafe code: what the child does between fork and exec.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, setsid};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How much nicer than control it is: negotiations wait, the kernel mirror does not.
const NICE: i32 = 5;

/// How charon is started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// The program.
    pub(super) program: &'a Path,
    /// Its strongswan.conf.
    pub(super) settings: &'a Path,
    /// The namespace to start it in.
    pub(super) netns: BorrowedFd<'a>,
    /// The only core that it may use; workers never share theirs.
    pub(super) core: Option<usize>,
    /// Where its output goes.
    pub(super) output: File,
}

/// A running charon.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    started: u64,
    pidfd: AsyncFd<OwnedFd>,
    /// `None`: started by an earlier process of ours.
    child: Option<Child>,
}

impl Process {
    /// Starts it. It outlives us, in a session of its own.
    pub(super) fn spawn(launch: &Launch<'_>) -> io::Result<Self> {
        let mut command = Command::new(launch.program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("STRONGSWAN_CONF", launch.settings)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(launch.output.try_clone()?)
            .stderr(launch.output.try_clone()?);
        let netns = launch.netns.as_raw_fd();
        let core = launch.core.map(only).transpose()?;
        // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe work is allowed:
        // it makes system calls and touches nothing else. `netns` is open in the parent until spawn returns.
        unsafe {
            command.pre_exec(move || {
                setns(BorrowedFd::borrow_raw(netns), CloneFlags::CLONE_NEWNET)?;
                if let Some(core) = &core {
                    sched_setaffinity(Pid::from_raw(0), core)?;
                }
                libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
                umask(Mode::from_bits_truncate(0o077));
                setsid()?;
                keep_no_descriptor()
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let pidfd = watch(pid)?;
        Ok(Self { pid, started: start_time(pid)?, pidfd, child: Some(child) })
    }

    /// Finds one again that an earlier process of ours has started; `None`: it is gone.
    pub(super) fn adopt(pid: i32, started: u64) -> io::Result<Option<Self>> {
        let pidfd = match watch(pid) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            other => other?,
        };
        // Only now: from here on the number cannot be given to another process unseen.
        let same = start_time(pid).is_ok_and(|now| now == started);
        Ok(same.then_some(Self { pid, started, pidfd, child: None }))
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// When it was started, in the kernel's ticks since boot: with the number it names a process for good.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Whether it lives in a network namespace.
    pub(super) fn is_in(&self, netns: &File) -> bool {
        let theirs = fs::metadata(format!("/proc/{}/ns/net", self.pid));
        let same = |theirs: fs::Metadata| {
            let ours = netns.metadata()?;
            io::Result::Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
        };
        theirs.and_then(same).unwrap_or(false)
    }

    /// Waits until it has ended; the status is known of one that we have started. May be called again.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        // An error here says that the pidfd is of no use; then nothing can be waited for.
        let _ = self.pidfd.readable().await;
        self.child.as_mut()?.wait().ok()
    }

    /// Asks it to end: it tells its peers.
    pub(super) fn terminate(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd.as_fd(), Signal::TERM)?)
    }

    /// Ends it.
    pub(super) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL)?)
    }
}

fn only(core: usize) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(set)
}

fn watch(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: an `OwnedFd` gives out the same descriptor for as long as it lives, and nobody else closes it.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

/// Ours are closed at exec anyway. DPDK's are not, and a network card whose descriptor lives on in charon could not be
/// opened by the next process of ours.
fn keep_no_descriptor() -> io::Result<()> {
    let first: libc::c_uint = 3;
    // SAFETY: takes three numbers, no memory.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Field 22 of /proc/PID/stat (proc(5)). The name in field 2 may hold anything, so it is read from behind that.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let field = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
    let time = field.and_then(|field| field.parse().ok());
    time.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time"))
    })
}
