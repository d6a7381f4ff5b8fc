//! Who a side says it is: one meaning for each text, the same to charon as to us.

use proptest::prelude::*;

use crate::config::Identity;

#[test]
fn identities_of_every_kind() {
    for (text, meant, shown) in [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7", "2001:db8::7"),
        ("Router.example.com", "fqdn:Router.example.com", "Router.example.com"),
        ("@router", "fqdn:router", "router"),
        ("fqdn:1.2", "fqdn:1.2", "fqdn:1.2"),
        ("a.b+c@example.com", "email:a.b+c@example.com", "a.b+c@example.com"),
        ("email:a@b", "email:a@b", "a@b"),
        ("keyid:branch/7", "keyid:branch/7", "keyid:branch/7"),
        ("keyid:#62", "keyid:b", "keyid:b"),
        ("keyid:#23", "keyid:#23", "keyid:#23"),
        ("@#00fF", "keyid:#00ff", "keyid:#00ff"),
        ("C=CH,o = Example AG , CN=x", "C=CH, O=Example AG, CN=x", "C=CH, O=Example AG, CN=x"),
        ("/C=CH/O=Example, Inc./CN=x", "/C=CH/O=Example, Inc./CN=x", "/C=CH/O=Example, Inc./CN=x"),
        ("/C=CH/CN=x", "C=CH, CN=x", "C=CH, CN=x"),
    ] {
        let id = Identity::parse(text).unwrap();
        assert_eq!((id.text().as_str(), id.to_string().as_str()), (meant, shown), "{text}");
        assert_eq!(Identity::parse(shown), Ok(id.clone()));
        assert_eq!(Identity::parse(meant), Ok(id));
    }
    let long = format!("keyid:#{}", "0".repeat(250));
    let too_many = format!("CN=x{}", ", CN=x".repeat(20));
    for text in [
        "",
        "%any",
        "*",
        "a b",
        "a..b",
        "a@",
        "@",
        "@@a@b",
        "a@b@c",
        "ipv4:192.0.2.7",
        "{2}:x",
        "192.0.2.0/24",
        "keyid:",
        "keyid:#",
        "keyid:#0",
        "keyid:#0g",
        "@#",
        "C=",
        "XX=y",
        "C=CH, ",
        "=x",
        "/C",
        "::",
        "fe80::1%eth0",
        "a\tb",
        &long,
        &too_many,
    ] {
        assert!(Identity::parse(text).is_err(), "{text}");
    }
}

proptest! {
    /// A text is refused, or means the same wherever it is written again.
    #[test]
    fn any_text_is_one_identity_or_none(text in r"\PC{0,40}|[-a-zA-Z0-9.@:#=,/ ]{0,30}|(keyid:|@#|CN=|/O=)[-a-f0-9#=, /]{0,20}") {
        if let Ok(id) = Identity::parse(&text) {
            prop_assert_eq!(Identity::parse(&id.text()), Ok(id.clone()));
            prop_assert_eq!(Identity::parse(&id.to_string()), Ok(id));
        }
    }
}
