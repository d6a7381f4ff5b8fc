//! `show crypto`: what encrypts, and which workers may.

use penstock_control::api::Crypto;

use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, count, maybe};

/// IVs of a fresh sender ID (RFC 6054: 40 bits).
const BUDGET: u64 = 1 << 40;

pub fn text(crypto: &Crypto, width: Option<u16>) -> String {
    let mut backends = Table::new(&[Text("BACKEND"), Text("USE"), Text("DETAIL")]);
    for backend in &crypto.backends {
        let used = match (backend.available, backend.name == crypto.backend) {
            (false, _) => "not here",
            (true, true) if crypto.configured == "auto" => "chosen",
            (true, true) => "configured",
            (true, false) => "possible",
        };
        backends.row(vec![backend.name.clone(), used.to_owned(), backend.detail.clone()]);
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
    if let Some(warning) = &crypto.warning {
        text.push_str(&format!("\nwarning: {} {warning}\n", crypto.static_sas));
    }
    text
}

/// What is left of a sender ID's IVs.
fn share(left: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a percentage is printed")]
    let percent = left as f64 * 100.0 / BUDGET as f64;
    format!("{percent:.0}%")
}

#[cfg(test)]
mod tests {
    use penstock_control::api::{CryptoBackend, Sender};

    use super::*;

    #[test]
    fn both_tables_and_what_is_wrong() {
        let backend = |name: &str, available, detail: &str| CryptoBackend {
            name: name.into(),
            available,
            detail: detail.into(),
        };
        let crypto = Crypto {
            backend: "rustcrypto".into(),
            configured: "auto".into(),
            backends: vec![backend("ipsec-mb", false, "no library"), backend("rustcrypto", true, "AES-NI")],
            senders: vec![
                Sender { core: 2, sender_id: Some(70_001), ivs_left: Some(1 << 39) },
                Sender { core: 3, sender_id: None, ivs_left: None },
            ],
            no_lease: Some("the clock is behind".into()),
            static_sas: 2,
            warning: Some("security associations come from a file".into()),
        };
        assert_eq!(
            text(&crypto, None),
            "BACKEND     USE       DETAIL\n\
             ipsec-mb    not here  no library\n\
             rustcrypto  chosen    AES-NI\n\
             \n\
             CORE  SENDER ID  IVS LEFT  SHARE\n   2      70001      550G    50%\n   3          -         -      -\n\
             \n\
             workers without a sender ID may not encrypt: the clock is behind\n\
             \n\
             warning: 2 security associations come from a file\n"
        );
    }
}
