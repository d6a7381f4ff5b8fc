//! The fleet of a configuration: its store, its key, and the tunnels that have SAs there.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use penstock_control::config::{self, FleetConfig};
use penstock_control::fleet::{key_file, store_settings};
use penstock_control::static_sas::TunnelName;
use penstock_fleet::seal::Keyring;
use penstock_fleet::store::Store;

/// An IPsec tunnel that negotiates with a router whose address is known.
pub struct Tunnel {
    pub name: TunnelName,
    pub endpoint: IpAddr,
    pub remote: IpAddr,
}

pub struct Fleet {
    pub config: FleetConfig,
    pub keyring: Keyring,
    pub store: Store,
    pub tunnels: Vec<Tunnel>,
}

impl Fleet {
    /// Reads the configuration and opens the store.
    pub async fn open(file: &Path) -> Result<Self> {
        let valid = config::load(file).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!("{}", lines.join("\n"))
        })?;
        let fleet = valid.fleet.clone().with_context(|| format!("{}: has no fleet", file.display()))?;
        let keyring = key_file::read(&fleet.key_file)?;
        let store = Store::open(store_settings(&valid, &fleet)).await?;
        let mut tunnels = Vec::new();
        for (tenant, section) in &valid.tenants {
            for (name, tunnel) in &section.tunnels {
                let ends = valid.endpoints.get(&tunnel.endpoint).copied().zip(tunnel.remote.address());
                if let Some((endpoint, remote)) = ends.filter(|_| tunnel.ike().is_some()) {
                    tunnels.push(Tunnel { name: (tenant.clone(), name.clone()), endpoint, remote });
                }
            }
        }
        ensure!(!tunnels.is_empty(), "{}: has no IPsec tunnel with ike and a remote address", file.display());
        Ok(Self { config: fleet, keyring, store, tunnels })
    }
}
