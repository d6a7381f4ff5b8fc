//! Who may do what over TCP: the names in a client's certificate, looked up among `api.clients`.
//!
//! Denied is what is not allowed. A client of certain tenants may use their accounts and read how the API is made;
//! everything else is about the gateway as a whole, and for clients of all tenants.

use axum::http::Method;
use x509_parser::extensions::GeneralName;

use crate::api::{ApiError, ErrorCode};
use crate::config::{ApiClient, ApiConfig, ApiRole, ApiTenants};

/// Where accounts are, with and without the prefix that clients of the public API have in their address.
const ACCOUNTS: [&str; 2] = ["/client/v4/accounts/", "/accounts/"];
/// How the API is made, which is no secret.
pub(crate) const SCHEMA: &str = "/v1/openapi.json";

/// Who asks, and what that may do now.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// What its certificate says, for the log.
    names: Vec<String>,
    rights: Option<ApiClient>,
}

impl Caller {
    /// The holder of a certificate with these names, whose authority was checked.
    pub(crate) fn new(names: &[String], config: &ApiConfig) -> Self {
        let rights = config.clients.iter().find(|client| names.contains(&client.name)).cloned();
        Self { names: names.to_vec(), rights }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        match &self.rights {
            Some(client) => client.name.clone(),
            None => self.names.join(", "),
        }
    }

    /// Whether it may ask this. The path is compared as it was sent: what is written in another way is denied.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn may(&self, method: &Method, path: &str) -> Result<(), ApiError> {
        let deny = |message: String| Err(ApiError::new(ErrorCode::Forbidden, message));
        let name = self.name();
        let Some(client) = &self.rights else {
            return deny(format!("the certificate ({name}) is not listed in api.clients of this gateway"));
        };
        if *method != Method::GET && client.role == ApiRole::Read {
            return deny(format!("{name} may only read (role: read in api.clients)"));
        }
        let ApiTenants::These(tenants) = &client.tenants else { return Ok(()) };
        let account = ACCOUNTS.iter().find_map(|accounts| path.strip_prefix(accounts));
        match account.and_then(|rest| rest.split('/').next()) {
            Some(account) if tenants.iter().any(|tenant| **tenant == *account) => Ok(()),
            Some(account) => deny(format!("{name} may not use account {account} (tenants in api.clients)")),
            None if path == SCHEMA => Ok(()),
            None => {
                deny(format!("{name} may use its own accounts only; this needs tenants: all in api.clients"))
            }
        }
    }
}

/// What a certificate, in DER, says its holder is called: its DNS names, e-mail addresses and URIs, or where it has none of these
/// (RFC 6125 section 6.4.4) its common names.
pub(crate) fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.into_iter().flat_map(|extension| &extension.value.general_names);
    let names: Vec<String> = alternative
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name();
    common.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Name;

    fn caller(role: ApiRole, tenants: ApiTenants) -> Caller {
        let client = ApiClient { name: "noc".into(), role, tenants };
        Caller { names: vec!["noc".into()], rights: Some(client) }
    }

    fn one(role: ApiRole) -> Caller {
        caller(role, ApiTenants::These(vec![Name::new("acme").unwrap()]))
    }

    #[test]
    fn who_is_not_listed_may_nothing() {
        let stranger = Caller { names: vec!["mallory".into()], rights: None };
        for path in ["/v1/show/status", SCHEMA, "/client/v4/accounts/acme/magic/routes", "/"] {
            let denied = stranger.may(&Method::GET, path).unwrap_err();
            assert!(denied.code == ErrorCode::Forbidden && denied.message.contains("mallory"), "{denied}");
        }
    }

    #[test]
    fn a_client_of_a_tenant_has_that_and_nothing_else() {
        let client = one(ApiRole::Write);
        for path in ["/client/v4/accounts/acme/magic/routes", "/accounts/acme/magic/gre_tunnels", SCHEMA] {
            assert!(client.may(&Method::GET, path).is_ok(), "{path}");
        }
        for path in [
            "/client/v4/accounts/globex/magic/routes",
            "/client/v4/accounts/acme2/magic/routes",
            "/client/v4/accounts/%61cme/magic/routes",
            "/client/v4/accounts/",
            "//accounts/acme/magic/routes",
            "/v1/show/status",
            "/v1/fleet/tenants",
            "/v1/reload",
            "/client/v4/accounts",
        ] {
            assert!(client.may(&Method::GET, path).is_err(), "{path}");
        }
    }

    #[test]
    fn who_may_read_changes_nothing() {
        for client in [one(ApiRole::Read), caller(ApiRole::Read, ApiTenants::All)] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert!(client.may(&method, "/client/v4/accounts/acme/magic/routes").is_err(), "{method}");
            }
            assert!(client.may(&Method::GET, "/client/v4/accounts/acme/magic/routes").is_ok());
        }
        assert!(caller(ApiRole::Write, ApiTenants::All).may(&Method::POST, "/v1/reload").is_ok());
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_name() {
        assert!(names(b"").is_empty());
        assert!(names(&[0x30; 64]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256)) {
            names(&bytes);
        }
    }
}
