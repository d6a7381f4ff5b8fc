//! The configuration's store, as the store wants to be told.

use penstock_fleet::store::{Engine, EtcdSettings, EtcdTls, EtcdUser, Settings};

use crate::config::{FleetConfig, FleetStore, GatewayConfig};

/// Which store a node's fleet has, and how to get in.
pub fn store_settings(config: &GatewayConfig, fleet: &FleetConfig) -> Settings {
    let engine = match &fleet.store {
        FleetStore::Embedded => Engine::Embedded { directory: config.node.state.clone() },
        FleetStore::Etcd { etcd } => Engine::Etcd(EtcdSettings {
            endpoints: etcd.endpoints.iter().map(ToString::to_string).collect(),
            tls: etcd.ca.clone().map(|ca| EtcdTls {
                ca,
                certificate: etcd.identity.clone().map(|own| (own.certificate, own.private_key)),
            }),
            user: etcd
                .user
                .clone()
                .map(|user| EtcdUser { name: user.user, password_file: user.password_file }),
        }),
    };
    Settings { fleet: fleet.name.to_string(), engine }
}
