//! `api`: where it listens, and who may do what.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::reader::Reader;
use crate::config::schema::*;
use crate::config::tree::{Kind, Node};
use crate::config::value;

/// Most files of authorities.
const MAX_CAS: usize = 16;
/// Longest name of a client: that of a domain (RFC 1035 section 2.3.4), or of an e-mail address.
const MAX_NAME_LEN: usize = 255;

pub(super) fn api(r: &mut Reader, node: &Node) -> Option<ApiConfig> {
    let mut f = r.fields(node)?;
    let listen = f.required(r, "listen", "\"10.20.0.1:8443\"", listen);
    let certificate = f.required(r, "certificate", "/etc/penstock/api.pem", |r, n| file(r, n, "api.pem"));
    let private_key = f.required(r, "private_key", "/etc/penstock/api.key", |r, n| file(r, n, "api.key"));
    let client_ca = f.required(r, "client_ca", "/etc/penstock/clients-ca.pem", authorities);
    let max_connections = f.or(r, "max_connections", 256, value::number(1..=10_000u16));
    let clients = f.or(r, "clients", vec![], |r, node| r.list(node, client));
    f.finish(r);
    Some(ApiConfig {
        listen: listen?,
        certificate: certificate?,
        private_key: private_key?,
        client_ca: client_ca?,
        max_connections,
        clients,
    })
}

fn listen(r: &mut Reader, node: &Node) -> Option<SocketAddr> {
    let fix =
        "write an address of this server and a port, such as \"10.20.0.1:8443\" or \"[2001:db8::10]:8443\"";
    match value::text(r, node)?.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Some(address),
        _ => r.unfit(node, "an address with a port", fix),
    }
}

fn file(r: &mut Reader, node: &Node, example: &str) -> Option<PathBuf> {
    super::path(r, node, &format!("write the whole path of the file, such as /etc/penstock/{example}"))
}

fn authorities(r: &mut Reader, node: &Node) -> Option<Vec<PathBuf>> {
    let files = r.list(node, |r, node| file(r, node, "clients-ca.pem"))?;
    let fix = "name the certificate of the authority that signs those of clients";
    match files.len() {
        0 if matches!(&node.kind, Kind::List(items) if items.is_empty()) => {
            r.unfit(node, "a list of files", fix)
        }
        // What could not be read was complained about.
        0 => None,
        1..=MAX_CAS => Some(files),
        many => {
            r.problem(node.at, format!("there are {many}, the limit is {MAX_CAS}"), "remove some");
            None
        }
    }
}

fn client(r: &mut Reader, node: &Node) -> Option<ApiClient> {
    const ROLES: &[(&str, ApiRole)] = &[("read", ApiRole::Read), ("write", ApiRole::Write)];
    let mut f = r.fields(node)?;
    let name = f.required(r, "name", "noc.example.com (in the client's certificate)", client_name);
    let role = f.required(r, "role", "read (or write)", value::word(ROLES));
    let tenants = f.required(r, "tenants", "all (or a list such as [acme])", tenants);
    f.finish(r);
    Some(ApiClient { name: name?, role: role?, tenants: tenants? })
}

fn client_name(r: &mut Reader, node: &Node) -> Option<String> {
    let name = value::text(r, node)?;
    if (1..=MAX_NAME_LEN).contains(&name.len()) && !name.contains(char::is_control) {
        return Some(name);
    }
    let fix = "write a DNS name, e-mail address or URI of its subjectAltName, or else its common name";
    r.unfit(node, "a name of a certificate", fix)
}

fn tenants(r: &mut Reader, node: &Node) -> Option<ApiTenants> {
    match &node.kind {
        Kind::Scalar(text) if **text == *"all" => Some(ApiTenants::All),
        _ => r.list(node, value::name).map(ApiTenants::These),
    }
}
