//! What tells this machine from another one with a copy of its disk, and this run of it from the last.

use std::fs;
use std::io;

/// What identifies a machine, and where Linux says it. The first is on the disk, and so is copied with it.
const SOURCES: [(&str, &str); 4] = [
    ("machine-id", "/etc/machine-id"),
    ("product UUID", "/sys/class/dmi/id/product_uuid"),
    ("board serial number", "/sys/class/dmi/id/board_serial"),
    ("hypervisor's UUID", "/sys/hypervisor/uuid"),
];
/// Another one at each start of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A run of the machine, from one start of its kernel to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootId(pub(super) String);

impl BootId {
    /// Of the run that this is.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self(fs::read_to_string(BOOT_ID)?.trim().to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A machine, as lines of `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity(String);

impl Identity {
    /// Of this machine: what of it can be read.
    pub(super) fn read() -> Self {
        let values = SOURCES.map(|(name, path)| (name, fs::read_to_string(path).unwrap_or_default()));
        Self::new(values.iter().map(|(name, value)| (*name, value.trim())))
    }

    pub(super) fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let known = values.into_iter().filter(|(_, value)| !value.is_empty());
        Self(known.map(|(name, value)| format!("{name}={value}\n")).collect())
    }

    pub(super) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_text(&self) -> &str {
        &self.0
    }

    /// Whether there is anything that a copy of the disk does not share.
    pub(super) fn has_hardware(&self) -> bool {
        SOURCES[1..].iter().any(|(name, _)| self.value(name).is_some())
    }

    /// What shows that these are two machines. Values that only one has show nothing, as long as there are
    /// others.
    pub(super) fn differs_from(&self, other: &Self) -> Option<&'static str> {
        let both = |name| self.value(name).zip(other.value(name));
        let differs =
            SOURCES.iter().find(|(name, _)| both(name).is_some_and(|(ours, theirs)| ours != theirs));
        match differs {
            Some((name, _)) => Some(name),
            None if self.0 == other.0 || SOURCES.iter().any(|(name, _)| both(name).is_some()) => None,
            None => Some("machine's identity"),
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_in_what_both_have() {
        let original = Identity::new([("machine-id", "a"), ("product UUID", "1")]);
        let copy = Identity::new([("machine-id", "a"), ("product UUID", "2")]);
        let renamed = Identity::new([("machine-id", "b"), ("product UUID", "1")]);
        let no_root = Identity::new([("machine-id", "a"), ("product UUID", "")]);
        let blank = Identity::new([]);
        assert_eq!(original.differs_from(&original), None);
        assert_eq!(original.differs_from(&copy), Some("product UUID"));
        assert_eq!(original.differs_from(&renamed), Some("machine-id"));
        assert_eq!(original.differs_from(&no_root), None);
        assert_eq!(original.differs_from(&blank), Some("machine's identity"));
        assert_eq!(blank.differs_from(&blank), None);
        assert!(original.has_hardware() && !no_root.has_hardware());
        assert_eq!(Identity::from_text(original.as_text()), original);
    }

    #[test]
    fn a_run_of_the_machine_has_a_name() {
        assert_eq!(BootId::read().unwrap().0.len(), 36);
        assert_eq!(BootId::read().unwrap(), BootId::read().unwrap());
    }
}
