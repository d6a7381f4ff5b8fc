//! What an operator asks before the first start, and when a start fails: is this host fit to run the gateway?
//!
//! Each check looks at one thing, changes nothing, and ends in [`Finding`]s: what is there, whether that will do, and the
//! command that mends it. What the kernel shows in `/sys` and `/proc` is read below a root directory, so that tests can make
//! every fault; what has to be asked otherwise is in [`Live`].

mod clock;
mod cores;
mod cpu;
mod fleet;
mod host;
mod ike;
mod kernel;
mod memory;
mod numbers;
mod pci;
mod ports;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use host::{Host, Live};

use crate::config::{TunnelConfig, ValidConfig};

/// Whether something will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It will do.
    Ok,
    /// This configuration, or this host, can do without.
    NotNeeded,
    /// The gateway runs, but worse than it could, or not for long.
    Warning,
    /// The gateway does not start, or does not forward.
    Bad,
}

impl Verdict {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotNeeded => "not needed",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a stable name, such as `memory.hugepages` or `port.edge0.driver`.
    pub check: String,
    /// Whether it will do.
    pub verdict: Verdict,
    /// What is there, or what is wrong with it.
    pub says: String,
    /// What mends it: a command, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, says: says.into(), mend: None }
    }

    fn not_needed(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotNeeded, ..Self::ok(check, says) }
    }

    fn warning(check: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, mend: Some(mend.into()), ..Self::ok(check, says) }
    }

    fn bad(check: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::warning(check, says, mend) }
    }
}

/// Looks at everything that this configuration needs; without one, at what every configuration does.
#[must_use]
pub fn examine(host: &Host, config: Option<&ValidConfig>) -> Vec<Finding> {
    let mut findings = cpu::examine(host, config);
    if let Some(config) = config {
        findings.extend(cores::examine(host, config));
    }
    findings.extend(memory::examine(host, config));
    if let Some(config) = config {
        findings.extend(ports::examine(host, config));
    }
    findings.extend(kernel::examine(host, config));
    findings.extend(ike::examine(host, config));
    findings.extend(fleet::examine(host, config));
    findings.push(clock::examine(host, config));
    findings
}

/// Whether any tunnel of the configuration encrypts.
fn encrypts(config: &ValidConfig) -> bool {
    tunnels(config).any(|tunnel| tunnel.gre().is_none())
}

fn tunnels(config: &ValidConfig) -> impl Iterator<Item = &TunnelConfig> {
    config.tenants.values().flat_map(|tenant| tenant.tunnels.values())
}
