//! `show crypto`: what encrypts, and which workers may.

use penstock_control::api::{Crypto, CryptoBackend};

use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, count, maybe};

/// IVs of a fresh sender ID (RFC 6054: 40 bits).
const BUDGET: u64 = 1 << 40;

pub fn text(crypto: &Crypto, width: Option<u16>) -> String {
    let mut backends = Table::new(&[Text("BACKEND"), Text("USE"), Text("SUITES"), Text("DETAIL")]);
    for backend in &crypto.backends {
        let (used, suites) = (used(crypto, backend).to_owned(), suites(crypto, backend));
        backends.row(vec![backend.name.clone(), used, suites, backend.detail.clone()]);
    }
    let mut senders = Table::new(&[Number("CORE"), Number("SENDER ID"), Number("IVS LEFT"), Number("SHARE")]);
    for sender in &crypto.senders {
        senders.row(vec![
            sender.core.to_string(),
            maybe(sender.sender_id),
            maybe(sender.ivs_left.map(count)),
            maybe(sender.ivs_left.map(share)),
        ]);
    }
    let mut text = format!("{}\n{}", backends.text(width), senders.text(width));
    if let Some(why) = &crypto.no_lease {
        text.push_str(&format!("\nworkers without a sender ID may not encrypt: {why}\n"));
    }
    if let Some(why) = &crypto.no_renewal {
        text.push_str(&format!("\nworkers keep the sender IDs that they have: {why}\n"));
    }
    if let Some(warning) = &crypto.warning {
        text.push_str(&format!("\nwarning: {} {warning}\n", crypto.static_sas));
    }
    text
}

/// Whether a library is in use, and why.
fn used(crypto: &Crypto, backend: &CryptoBackend) -> &'static str {
    match (backend.available, backend.suites.is_empty()) {
        (false, _) => "not here",
        (true, true) => "possible",
        (true, false) if crypto.configured == "auto" => "chosen",
        (true, false) if crypto.configured == backend.name => "configured",
        (true, false) => "fallback",
    }
}

/// The suites that a library works with; the longest of several lists is said in a word.
fn suites(crypto: &Crypto, backend: &CryptoBackend) -> String {
    let used = || crypto.backends.iter().map(|other| other.suites.len());
    match backend.suites.len() {
        0 => "-".to_owned(),
        all if all == used().sum::<usize>() => "all".to_owned(),
        most if used().max() == Some(most) => "others".to_owned(),
        _ => backend.suites.join(" "),
    }
}

/// What is left of a sender ID's IVs.
fn share(left: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a percentage is printed")]
    let percent = left as f64 * 100.0 / BUDGET as f64;
    format!("{percent:.0}%")
}

#[cfg(test)]
mod tests {
    use penstock_control::api::Sender;

    use super::*;

    fn backend(name: &str, available: bool, suites: &[&str], detail: &str) -> CryptoBackend {
        let suites = suites.iter().map(ToString::to_string).collect();
        CryptoBackend { name: name.into(), available, suites, detail: detail.into() }
    }

    #[test]
    fn each_kind_of_suite_has_its_backend() {
        let gcm = ["aes128gcm16", "aes256gcm16"];
        let others = ["chacha20poly1305", "aes128-sha256", "null-sha256"];
        let shown = |configured: &str, backends| {
            let crypto = Crypto { configured: configured.into(), backends, ..Crypto::default() };
            let text = text(&crypto, None);
            text.split_once("\n\n").map(|(table, _)| table.to_owned()).unwrap_or_default()
        };
        let auto = [
            backend("ipsec-mb", true, &others, "SSE"),
            backend("vaes", true, &gcm, "256 bits"),
            backend("rustcrypto", true, &[], "AES-NI"),
        ];
        assert_eq!(
            shown("auto", auto.to_vec()),
            "BACKEND     USE       SUITES                   DETAIL\n\
             ipsec-mb    chosen    others                   SSE\n\
             vaes        chosen    aes128gcm16 aes256gcm16  256 bits\n\
             rustcrypto  possible  -                        AES-NI"
        );
        let named = [backend("vaes", true, &gcm, "256 bits"), backend("rustcrypto", true, &others, "AES-NI")];
        assert_eq!(
            shown("vaes", named.to_vec()),
            "BACKEND     USE         SUITES                   DETAIL\n\
             vaes        configured  aes128gcm16 aes256gcm16  256 bits\n\
             rustcrypto  fallback    others                   AES-NI"
        );
    }

    #[test]
    fn both_tables_and_what_is_wrong() {
        let crypto = Crypto {
            configured: "auto".into(),
            backends: vec![
                backend("ipsec-mb", false, &[], "no library"),
                backend("rustcrypto", true, &["aes128gcm16"], "AES-NI"),
            ],
            senders: vec![
                Sender { core: 2, sender_id: Some(70_001), ivs_left: Some(1 << 39) },
                Sender { core: 3, sender_id: None, ivs_left: None },
            ],
            no_lease: Some("the clock is behind".into()),
            no_renewal: None,
            static_sas: 2,
            warning: Some("security associations come from a file".into()),
        };
        assert_eq!(
            text(&crypto, None),
            "BACKEND     USE       SUITES  DETAIL\n\
             ipsec-mb    not here  -       no library\n\
             rustcrypto  chosen    all     AES-NI\n\
             \n\
             CORE  SENDER ID  IVS LEFT  SHARE\n   2      70001      550G    50%\n   3          -         -      -\n\
             \n\
             workers without a sender ID may not encrypt: the clock is behind\n\
             \n\
             warning: 2 security associations come from a file\n"
        );
    }
}
