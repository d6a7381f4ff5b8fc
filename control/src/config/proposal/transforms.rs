//! The transforms that proposals may name, by strongSwan's keywords, with what is to be said about each.
//!
//! For ESP those that the data plane has. For IKE those that charon has without plugins of its own for them, and that
//! RFC 8247 does not forbid. Implicit IVs (RFC 8750) have no keyword.

/// What a transform does (RFC 7296 section 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A cipher that authenticates by itself.
    Aead,
    /// A cipher that needs integrity beside it.
    Cipher,
    Integrity,
    Prf,
    Group,
    /// Rekeying without a key exchange of its own.
    NoGroup,
}

/// Where a transform may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Both,
    Ike,
    Esp,
}

/// One transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transform {
    pub(super) name: &'static str,
    /// Other words for it.
    aliases: &'static [&'static str],
    pub(super) kind: Kind,
    of: Use,
    /// What is wrong with it, if it is to be avoided.
    pub(super) weakness: Option<&'static str>,
}

impl Transform {
    pub(super) fn serves(&self, esp: bool) -> bool {
        self.of == Use::Both || (self.of == Use::Esp) == esp
    }

    /// What the word stands for.
    pub(super) fn find(word: &str) -> Option<&'static Self> {
        TRANSFORMS.iter().find(|transform| transform.name == word || transform.aliases.contains(&word))
    }

    pub(super) fn all() -> impl Iterator<Item = &'static Self> {
        TRANSFORMS.iter()
    }
}

const fn good(name: &'static str, aliases: &'static [&'static str], kind: Kind, of: Use) -> Transform {
    Transform { name, aliases, kind, of, weakness: None }
}

const fn weak(
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    of: Use,
    weakness: &'static str,
) -> Transform {
    Transform { name, aliases, kind, of, weakness: Some(weakness) }
}

const SHA1: &str = "SHA-1 is outdated (RFC 8247 section 2.3)";
const SMALL_GROUP: &str = "this group is too small: it can be broken (RFC 8247 section 2.4)";
const OPEN: &str = "does not encrypt: everybody on the way can read the packets";

const TRANSFORMS: [Transform; 37] = {
    use Kind::{Aead, Cipher, Group, Integrity, NoGroup, Prf};
    use Use::{Both, Esp, Ike};
    [
        good("aes128gcm16", &["aes128gcm", "aes128gcm128"], Aead, Both),
        good("aes192gcm16", &["aes192gcm", "aes192gcm128"], Aead, Ike),
        good("aes256gcm16", &["aes256gcm", "aes256gcm128"], Aead, Both),
        good("chacha20poly1305", &[], Aead, Both),
        good("aes128", &["aes"], Cipher, Both),
        good("aes192", &[], Cipher, Ike),
        good("aes256", &[], Cipher, Both),
        weak("null", &[], Cipher, Esp, OPEN),
        weak("sha1", &["sha"], Integrity, Both, SHA1),
        good("sha256", &["sha2_256"], Integrity, Both),
        good("sha384", &["sha2_384"], Integrity, Both),
        good("sha512", &["sha2_512"], Integrity, Both),
        weak("prfsha1", &[], Prf, Ike, SHA1),
        good("prfsha256", &[], Prf, Ike),
        good("prfsha384", &[], Prf, Ike),
        good("prfsha512", &[], Prf, Ike),
        weak("modp1024", &[], Group, Both, SMALL_GROUP),
        weak("modp1536", &[], Group, Both, SMALL_GROUP),
        good("modp2048", &[], Group, Both),
        good("modp3072", &[], Group, Both),
        good("modp4096", &[], Group, Both),
        good("modp6144", &[], Group, Both),
        good("modp8192", &[], Group, Both),
        weak("modp1024s160", &[], Group, Both, SMALL_GROUP),
        weak("modp2048s224", &[], Group, Both, "this group may be weak by design (RFC 8247 section 2.4)"),
        weak("modp2048s256", &[], Group, Both, "this group may be weak by design (RFC 8247 section 2.4)"),
        weak("ecp192", &[], Group, Both, SMALL_GROUP),
        good("ecp224", &[], Group, Both),
        good("ecp256", &[], Group, Both),
        good("ecp384", &[], Group, Both),
        good("ecp521", &[], Group, Both),
        good("ecp256bp", &[], Group, Both),
        good("ecp384bp", &[], Group, Both),
        good("ecp512bp", &[], Group, Both),
        good("curve25519", &["x25519"], Group, Both),
        good("curve448", &["x448"], Group, Both),
        good("none", &["modpnone"], NoGroup, Esp),
    ]
};
