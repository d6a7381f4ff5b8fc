//! What can go wrong with the kernel's side of the gateway, in words that say what to do next.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;

/// A failure while making or changing the twins, or while talking netlink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A name that cannot be used for a network namespace.
    #[error(
        "network namespace name {0:?} is not usable: use 1 to 64 letters, digits, '-', '_' or '.', not starting with '-' or '.'"
    )]
    NetnsName(String),
    /// A name that cannot be used for a twin.
    #[error(
        "interface name {0:?} is not usable for a kernel interface: use 1 to 15 letters, digits, '-', '_' or '.', and not 'lo', 'all' or 'default'"
    )]
    InterfaceName(String),
    /// The namespace could not be made or entered.
    #[error(
        "network namespace {name}: cannot {action}: {source}; run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN), see docs/kernel-twin.md"
    )]
    Netns {
        /// Its name.
        name: String,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is a file of that name that is no namespace.
    #[error("{path} exists but is not a network namespace (left by a crash?); remove it with: rm {path}", path = .0.display())]
    NotANetns(PathBuf),
    /// A thread in the namespace could not be started or died.
    #[error("cannot run a thread in network namespace {0}: too many threads, or it panicked (see the log)")]
    Thread(String),
    /// The TUN driver is missing or closed to us.
    #[error(
        "cannot open /dev/net/tun: {0}; load the driver with 'modprobe tun' and run as root (CAP_NET_ADMIN)"
    )]
    TunDevice(io::Error),
    /// The TAP interface could not be made.
    #[error("cannot make TAP interface {name}: {source}{}", tap_hint(.source))]
    Tap {
        /// Name of the interface.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A sysctl could not be written.
    #[error("cannot write {value} to {path}: {source}; the service needs a writable /proc/sys (systemd: ProtectKernelTunables=no)", path = .path.display())]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// What should go in.
        value: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A netlink socket failed.
    #[error("netlink: cannot {action}: {source}")]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused a change of an interface or an address.
    #[error("interface {interface}: cannot {action}: {source}")]
    Interface {
        /// Name of the interface.
        interface: String,
        /// What was tried, with its argument.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a route.
    #[error("route {prefix}: cannot {action}: {source}{}", route_hint(.source))]
    Route {
        /// Its destination.
        prefix: IpNet,
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A route names an interface that has no twin.
    #[error(
        "route {prefix}: there is no interface {interface}; name a port or a VLAN of a port (edge0, edge0.100)"
    )]
    RouteInterface {
        /// Its destination.
        prefix: IpNet,
        /// The name that nothing has.
        interface: String,
    },
}

fn tap_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EBUSY) => {
            "; an interface of this name exists: is another penstock running in this namespace? Else remove it with 'ip link del'"
        }
        Some(libc::EPERM) => "; run as root (CAP_NET_ADMIN)",
        _ => "",
    }
}

fn route_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL) => {
            "; the next hop must be inside the prefix of an address of one of the ports"
        }
        Some(libc::EEXIST) => {
            "; another route to it with this metric is there already: remove that one or give this one a metric"
        }
        Some(libc::ENETDOWN) => "; the interface is down: set it up with 'ip link set ... up'",
        _ => "",
    }
}

/// The system error inside a netlink reply, so that messages read like those of `ip`.
pub(crate) fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
