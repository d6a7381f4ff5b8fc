//! Tunnels: from a request to the tenant's configuration, and back.

use std::net::IpAddr;

use data_encoding::BASE32_NOPAD;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::Failure;
use super::draft::{Draft, description};
use super::fields::{
    GreTunnel, GreTunnelRequest, IpsecTunnel, IpsecTunnelRequest, PskMetadata, RemoteIdentities, no_bgp, off,
};
use super::health::{self, HealthCheck};
use crate::api::Secret;
use crate::config::{Auto, Identity, IkeAuth, Name, TenantConfig, Ttl, TunnelConfig};

/// Longest pre-shared key, bytes.
const MAX_PSK_BYTES: usize = 1024;
/// Shortest one.
const MIN_PSK_BYTES: usize = 8;
/// Random bytes of a pre-shared key that we make.
const PSK_RANDOM_BYTES: usize = 32;

/// Which tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gre,
    Ipsec,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Ipsec => "ipsec",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gre => "GRE tunnel",
            Self::Ipsec => "IPsec tunnel",
        }
    }

    fn is_of(self, tunnel: &TunnelConfig) -> bool {
        tunnel.is_ipsec() == (self == Self::Ipsec)
    }
}

/// What a request wants of a tunnel, of either kind. `None`: as it is.
#[derive(Default)]
pub(super) struct Wanted {
    name: Option<String>,
    /// The field and its value.
    endpoint: Option<(&'static str, String)>,
    remote: Option<(&'static str, String)>,
    address4: Option<String>,
    address6: Option<String>,
    description: Option<String>,
    mtu: Option<u16>,
    ttl: Option<u8>,
    health: Option<HealthCheck>,
    psk: Option<Zeroizing<Vec<u8>>>,
    remote_id: Option<String>,
}

impl TryFrom<GreTunnelRequest> for Wanted {
    type Error = Failure;

    fn try_from(request: GreTunnelRequest) -> Result<Self, Failure> {
        no_bgp(request.bgp)?;
        off("/automatic_return_routing", request.automatic_return_routing)?;
        Ok(Self {
            name: request.name,
            endpoint: request.cloudflare_gre_endpoint.map(|value| ("/cloudflare_gre_endpoint", value)),
            remote: request.customer_gre_endpoint.map(|value| ("/customer_gre_endpoint", value)),
            address4: request.interface_address,
            address6: request.interface_address6,
            description: request.description,
            mtu: request.mtu,
            ttl: request.ttl,
            health: request.health_check,
            ..Self::default()
        })
    }
}

impl TryFrom<IpsecTunnelRequest> for Wanted {
    type Error = Failure;

    fn try_from(request: IpsecTunnelRequest) -> Result<Self, Failure> {
        no_bgp(request.bgp)?;
        off("/automatic_return_routing", request.automatic_return_routing)?;
        off("/allow_null_cipher", request.allow_null_cipher)?;
        if request.replay_protection == Some(true) {
            let message = "the nodes of a fleet number what they send each for itself, so the customer's router must not \
                           check the order: write false, and set its replay window to 0";
            return Err(Failure::bad("/replay_protection", message));
        }
        Ok(Self {
            name: request.name,
            endpoint: request.cloudflare_endpoint.map(|value| ("/cloudflare_endpoint", value)),
            remote: request.customer_endpoint.map(|value| ("/customer_endpoint", value)),
            address4: request.interface_address,
            address6: request.interface_address6,
            description: request.description,
            health: request.health_check,
            psk: request.psk.map(|psk| given_psk(psk, "/psk")).transpose()?,
            remote_id: request.custom_remote_identities.and_then(|identities| identities.fqdn_id),
            ..Self::default()
        })
    }
}

/// Adds a tunnel. The answer is its identifier.
pub(super) fn create(draft: &mut Draft, kind: Kind, wanted: Wanted) -> Result<String, Failure> {
    let required = [
        ("/name", wanted.name.is_some()),
        (
            if kind == Kind::Gre { "/cloudflare_gre_endpoint" } else { "/cloudflare_endpoint" },
            wanted.endpoint.is_some(),
        ),
        ("/customer_gre_endpoint", wanted.remote.is_some() || kind == Kind::Ipsec),
        ("/interface_address", wanted.address4.is_some()),
    ];
    if let Some((missing, _)) = required.iter().find(|(_, is_there)| !is_there) {
        return Err(Failure::bad(missing, format!("{} is missing", &missing[1..])));
    }
    let name = wanted.name.clone().unwrap_or_default();
    check_name(draft, &name)?;
    let mut notes = draft.new_notes()?;
    let mut tunnel = Map::new();
    tunnel.insert("type".into(), kind.word().into());
    if kind == Kind::Ipsec {
        tunnel.insert("ike".into(), json!({"psk": "store"}));
        if wanted.remote.is_none() {
            tunnel.insert("remote".into(), "any".into());
        }
    }
    edit(draft, &mut tunnel, &[], &wanted)?;
    if let Some(text) = &wanted.description {
        notes.description = description(text)?;
    }
    if let Some(psk) = wanted.psk {
        notes.psk_on = Some(draft.now.clone());
        draft.set_secret(&name, Secret::Given(psk));
    }
    let id = notes.id.clone();
    draft.put_tunnel(&name, tunnel);
    draft.about.tunnels.insert(name, notes);
    Ok(id)
}

/// Changes a tunnel.
pub(super) fn update(draft: &mut Draft, kind: Kind, id: &str, wanted: Wanted) -> Result<(), Failure> {
    let typed = draft.typed()?;
    let old = find(draft, &typed, kind, id)?;
    let Some(mut tunnel) = draft.tunnel(&old).cloned() else {
        return Err(Failure::no_such(kind.name(), id));
    };
    let new = wanted.name.clone().unwrap_or_else(|| old.to_string());
    if new != *old {
        check_name(draft, &new)?;
    }
    let address = typed.tunnels.get(&old).map(|tunnel| tunnel.address.clone()).unwrap_or_default();
    edit(draft, &mut tunnel, &address, &wanted)?;
    let mut notes = draft.notes(&old);
    notes.modified_on = Some(draft.now.clone());
    if let Some(text) = &wanted.description {
        notes.description = description(text)?;
    }
    if new != *old {
        draft.remove_tunnel(&old);
        rename_in_routes(draft, &old, &new);
    }
    match wanted.psk {
        Some(psk) => {
            use_stored_psk(&mut tunnel);
            notes.psk_on = Some(draft.now.clone());
            draft.set_secret(&new, Secret::Given(psk));
        }
        None if new != *old && kind == Kind::Ipsec => draft.set_secret(&new, Secret::Of(old.to_string())),
        None => {}
    }
    draft.put_tunnel(&new, tunnel);
    draft.about.tunnels.insert(new, notes);
    Ok(())
}

/// Takes a tunnel out.
pub(super) fn remove(draft: &mut Draft, kind: Kind, id: &str) -> Result<(), Failure> {
    let typed = draft.typed()?;
    let name = find(draft, &typed, kind, id)?;
    draft.remove_tunnel(&name);
    Ok(())
}

/// Makes a pre-shared key for a tunnel, and says it once.
pub(super) fn generate_psk(draft: &mut Draft, id: &str) -> Result<Zeroizing<String>, Failure> {
    let mut random = Zeroizing::new([0; PSK_RANDOM_BYTES]);
    getrandom::fill(random.as_mut_slice()).map_err(|error| {
        Failure::from(crate::api::ApiError::new(crate::api::ErrorCode::Internal, error.to_string()))
    })?;
    // In lower case and without 0 and 1: no router takes its beginning for 0x or 0s, and no person for a letter.
    let mut text = Zeroizing::new(BASE32_NOPAD.encode(random.as_slice()));
    text.make_ascii_lowercase();
    set_psk(draft, id, Zeroizing::new(text.as_bytes().to_vec()))?;
    Ok(text)
}

/// Gives a tunnel a pre-shared key.
pub(super) fn set_psk(draft: &mut Draft, id: &str, psk: Zeroizing<Vec<u8>>) -> Result<(), Failure> {
    update(draft, Kind::Ipsec, id, Wanted { psk: Some(psk), ..Wanted::default() })
}

/// A pre-shared key that somebody gives.
pub(super) fn given_psk(psk: Zeroizing<String>, pointer: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let psk = Zeroizing::new(psk.as_bytes().to_vec());
    let fits = (MIN_PSK_BYTES..=MAX_PSK_BYTES).contains(&psk.len())
        && psk.iter().all(|byte| (b' '..=b'~').contains(byte));
    if !fits {
        let message =
            format!("a pre-shared key has {MIN_PSK_BYTES} to {MAX_PSK_BYTES} printable ASCII characters");
        return Err(Failure::bad(pointer, message));
    }
    Ok(psk)
}

/// The name of a tunnel, by its identifier.
fn find(draft: &Draft, typed: &TenantConfig, kind: Kind, id: &str) -> Result<Name, Failure> {
    let of_kind = typed.tunnels.iter().filter(|(_, tunnel)| kind.is_of(tunnel));
    let mut names = of_kind.map(|(name, _)| name).filter(|name| draft.notes(name).id == id);
    names.next().cloned().ok_or_else(|| Failure::no_such(kind.name(), id))
}

fn check_name(draft: &Draft, name: &str) -> Result<(), Failure> {
    if Name::new(name).is_none() {
        let rule = "use 1 to 63 letters, digits, - and _, beginning with a letter or digit";
        return Err(Failure::bad("/name", format!("the name cannot be used: {rule}")));
    }
    if draft.tunnel(name).is_some() {
        return Err(Failure::bad(
            "/name",
            format!("this account has a tunnel {name} already: use another name"),
        ));
    }
    Ok(())
}

/// Writes what is wanted into a tunnel, whose addresses are these.
fn edit(
    draft: &Draft,
    tunnel: &mut Map<String, Value>,
    address: &[IpNet],
    wanted: &Wanted,
) -> Result<(), Failure> {
    if let Some((pointer, text)) = &wanted.endpoint {
        let ip = parse_ip(pointer, text)?;
        let Some((name, _)) = draft.endpoints.iter().find(|(_, endpoint)| **endpoint == ip) else {
            let ours: Vec<String> = draft.endpoints.values().take(8).map(ToString::to_string).collect();
            let message = format!("{ip} is no endpoint of this gateway: write one of {}", ours.join(", "));
            return Err(Failure::bad(pointer, message));
        };
        tunnel.insert("endpoint".into(), name.as_str().into());
    }
    if let Some((pointer, text)) = &wanted.remote {
        let remote = if text.is_empty() { "any".to_owned() } else { parse_ip(pointer, text)?.to_string() };
        tunnel.insert("remote".into(), remote.into());
    }
    let mut address = address.to_vec();
    let families =
        [("/interface_address", &wanted.address4, true), ("/interface_address6", &wanted.address6, false)];
    for (pointer, text, is_v4) in families {
        let Some(text) = text else { continue };
        let of_family = |net: &IpNet| net.addr().is_ipv4() == is_v4;
        let net = (!text.is_empty()).then(|| parse_net(pointer, text)).transpose()?;
        if net.is_some_and(|net| !of_family(&net)) {
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            return Err(Failure::bad(pointer, format!("{text} is not {family}: write an {family} address")));
        }
        // The first of a family is the one that this API shows.
        match (address.iter().position(of_family), net) {
            (Some(at), Some(net)) => address[at] = net,
            (None, Some(net)) => address.push(net),
            (Some(at), None) => {
                address.remove(at);
            }
            (None, None) => {}
        }
    }
    if wanted.address4.is_some() || wanted.address6.is_some() {
        let texts = address.iter().map(|net| Value::String(net.to_string())).collect();
        tunnel.insert("address".into(), Value::Array(texts));
    }
    if let Some(mtu) = wanted.mtu {
        tunnel.insert("mtu".into(), mtu.into());
    }
    if let Some(ttl) = wanted.ttl {
        tunnel.insert("ttl".into(), ttl.into());
    }
    if let Some(health) = &wanted.health {
        health::write(tunnel, health)?;
    }
    if let Some(id) = &wanted.remote_id {
        let Some(id) = Identity::domain(id) else {
            let message = "write a domain name, such as router.example.com";
            return Err(Failure::bad("/custom_remote_identities/fqdn_id", message));
        };
        edit_ike(tunnel, |ike| {
            ike.insert("remote_id".into(), id.text().into());
        });
    }
    Ok(())
}

/// Changes how a tunnel negotiates.
fn edit_ike(tunnel: &mut Map<String, Value>, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut ike = match tunnel.remove("ike") {
        Some(Value::Object(ike)) => ike,
        _ => Map::from_iter([("psk".to_owned(), "store".into())]),
    };
    edit(&mut ike);
    tunnel.insert("ike".into(), Value::Object(ike));
}

/// From whatever a tunnel authenticates with to a key of the store.
fn use_stored_psk(tunnel: &mut Map<String, Value>) {
    edit_ike(tunnel, |ike| {
        for key in ["psk_file", "certificate", "private_key", "ca"] {
            ike.remove(key);
        }
        ike.insert("psk".into(), "store".into());
    });
}

/// Routes through a tunnel that has another name now.
fn rename_in_routes(draft: &mut Draft, old: &str, new: &str) {
    for route in &mut draft.routes {
        if route.get("via").and_then(Value::as_str) == Some(old) {
            route["via"] = new.into();
        }
    }
    for route in draft.about.routes.iter_mut().filter(|route| route.via == old) {
        route.via = new.to_owned();
    }
}

fn parse_ip(pointer: &str, text: &str) -> Result<IpAddr, Failure> {
    text.parse().map_err(|_| Failure::bad(pointer, "write an IPv4 or IPv6 address"))
}

/// An address with the length of its link's prefix.
fn parse_net(pointer: &str, text: &str) -> Result<IpNet, Failure> {
    text.parse().map_err(|_| {
        Failure::bad(
            pointer,
            "write our address inside the tunnel with its prefix length, such as 10.0.0.0/31",
        )
    })
}

/// The first address of each family.
fn addresses(tunnel: &TunnelConfig) -> (String, Option<String>) {
    let first = |is_v4: bool| tunnel.address.iter().find(|net| net.addr().is_ipv4() == is_v4);
    (first(true).map(ToString::to_string).unwrap_or_default(), first(false).map(ToString::to_string))
}

/// All GRE tunnels of a tenant.
pub(super) fn gre(draft: &Draft, typed: &TenantConfig) -> Vec<GreTunnel> {
    let tunnels = typed.tunnels.iter().filter(|(_, tunnel)| Kind::Gre.is_of(tunnel));
    tunnels
        .map(|(name, tunnel)| {
            let notes = draft.notes(name);
            let (interface_address, interface_address6) = addresses(tunnel);
            GreTunnel {
                id: notes.id,
                name: name.to_string(),
                cloudflare_gre_endpoint: endpoint(draft, tunnel),
                customer_gre_endpoint: tunnel.remote.to_string(),
                interface_address,
                interface_address6,
                description: notes.description,
                mtu: match tunnel.mtu {
                    Auto::Auto => None,
                    Auto::Fixed(mtu) => Some(mtu),
                },
                ttl: match tunnel.ttl {
                    Ttl::Inherit => None,
                    Ttl::Fixed(ttl) => Some(ttl),
                },
                health_check: health::read(tunnel),
                created_on: notes.created_on,
                modified_on: notes.modified_on,
            }
        })
        .collect()
}

/// All IPsec tunnels of a tenant.
pub(super) fn ipsec(draft: &Draft, typed: &TenantConfig) -> Vec<IpsecTunnel> {
    let tunnels = typed.tunnels.iter().filter(|(_, tunnel)| Kind::Ipsec.is_of(tunnel));
    tunnels
        .map(|(name, tunnel)| {
            let notes = draft.notes(name);
            let (interface_address, interface_address6) = addresses(tunnel);
            let ike = tunnel.ike();
            let fqdn = ike.and_then(|ike| match &ike.remote_id {
                Some(Identity::Fqdn(name)) => Some(name.to_string()),
                _ => None,
            });
            let is_stored = ike.is_some_and(|ike| matches!(ike.auth, IkeAuth::Stored { .. }));
            let psk_on = notes.psk_on.filter(|_| is_stored);
            IpsecTunnel {
                id: notes.id,
                name: name.to_string(),
                cloudflare_endpoint: endpoint(draft, tunnel),
                customer_endpoint: tunnel.remote.address().map(|address| address.to_string()),
                interface_address,
                interface_address6,
                description: notes.description,
                replay_protection: ike.is_some_and(|ike| ike.peer_replay_window > 0),
                allow_null_cipher: false,
                custom_remote_identities: fqdn.map(|id| RemoteIdentities { fqdn_id: Some(id) }),
                psk_metadata: psk_on.map(|last_generated_on| PskMetadata { last_generated_on }),
                health_check: health::read(tunnel),
                created_on: notes.created_on,
                modified_on: notes.modified_on,
            }
        })
        .collect()
}

fn endpoint(draft: &Draft, tunnel: &TunnelConfig) -> String {
    draft.endpoints.get(&*tunnel.endpoint).map(ToString::to_string).unwrap_or_default()
}
