//! The twins: makes the kernel's interfaces, addresses and routes equal to a [`TwinPlan`].
//!
//! What is there is read from the kernel each time, so applying again also mends what somebody broke. Only
//! what Penstock made is ever removed: twins, and addresses and routes marked with protocol 178. One thing
//! that fails does not stop the rest; all problems are reported together.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use ipnet::IpNet;
use rtnetlink::LinkMessageBuilder;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use tokio::task::JoinHandle;

use super::error::{KernelError, io_error};
use super::netlink::convert::{Event, event};
use super::netlink::dump::{Kind, dump};
use super::netlink::socket::NetlinkSocket;
use super::netns::Netns;
use super::plan::{InterfacePlan, TwinPlan};
use super::pump::PumpPort;
use super::routes::{self, PROTOCOL};
use super::state::{Address, IfIndex, Link};
use super::sysctl;
use super::tap::Tap;

const LOOPBACK: &str = "lo";

/// The twins of one namespace.
#[derive(Debug)]
pub struct Twins {
    handle: rtnetlink::Handle,
    connection: JoinHandle<()>,
    dumps: NetlinkSocket,
    taps: BTreeMap<String, Arc<Tap>>,
    /// Addresses that this process put somewhere, for kernels before 5.18, which cannot mark them.
    put: HashSet<Address>,
}

/// What [`Twins::apply`] did.
#[derive(Debug)]
pub struct Applied {
    /// One for each twin that is up, for the pump.
    pub ports: Vec<PumpPort>,
    /// What could not be done; the rest was.
    pub problems: Vec<KernelError>,
}

impl Twins {
    /// Sets up the namespace's sysctls and opens what is needed to change it. Must be called inside a tokio
    /// runtime.
    pub fn start(netns: &Netns) -> Result<Self, KernelError> {
        let runtime = tokio::runtime::Handle::current();
        let open = || {
            let _entered = runtime.enter();
            sysctl::configure_namespace()?;
            let dumps = NetlinkSocket::open(&[], 1 << 20)?;
            let connection = rtnetlink::new_connection()
                .map_err(|source| KernelError::Netlink { action: "open a socket", source })?;
            Ok::<_, KernelError>((dumps, connection))
        };
        let (dumps, (connection, handle, _)) = netns.run(open)??;
        let connection = runtime.spawn(connection);
        Ok(Self { handle, connection, dumps, taps: BTreeMap::new(), put: HashSet::new() })
    }

    /// Makes the kernel's side equal to `plan`. Steps: interfaces that go, interfaces that come, their
    /// settings, addresses, routes.
    pub async fn apply(&mut self, netns: &Netns, plan: &TwinPlan) -> Applied {
        let mut problems = Vec::new();
        match self.links().await {
            Ok(links) => self.close_unwanted(plan, &links, &mut problems).await,
            Err(error) => problems.push(error),
        }
        self.open_missing(netns, plan, &mut problems);

        let links = self.links().await.unwrap_or_else(|error| {
            problems.push(error);
            BTreeMap::new()
        });
        for interface in &plan.interfaces {
            if let Some(link) = links.get(&interface.name).filter(|_| self.taps.contains_key(&interface.name))
            {
                problems.extend(self.set_up(interface, link).await.err());
            }
        }
        if let Some(lo) = links.get(LOOPBACK).filter(|lo| !lo.admin_up) {
            let up = LinkMessageBuilder::<LinkUnspec>::default().index(lo.index.0).up().build();
            let done = self.handle.link().set(up).execute().await;
            problems
                .extend(done.err().map(|e| interface_error(LOOPBACK, "set it up".to_owned(), io_error(e))));
        }
        self.set_addresses(plan, &links, &mut problems).await;
        let index_of = |name: &str| links.get(name).map(|link| link.index);
        problems.extend(routes::apply(&self.handle, &mut self.dumps, &plan.routes, index_of).await);

        let ports = plan.interfaces.iter().filter_map(|interface| {
            let tap = Arc::clone(self.taps.get(&interface.name)?);
            let index = links.get(&interface.name)?.index;
            Some(PumpPort { interface: interface.interface, index, vlan: interface.vlan, tap })
        });
        Applied { ports: ports.collect(), problems }
    }

    /// Tells the kernel that the port behind a twin has, or has lost, its link.
    pub fn set_carrier(&self, name: &str, up: bool) -> Result<(), KernelError> {
        let Some(tap) = self.taps.get(name) else { return Ok(()) };
        let action = || format!("switch its carrier {}", if up { "on" } else { "off" });
        tap.set_carrier(up).map_err(|e| interface_error(name, action(), e))
    }

    async fn links(&mut self) -> Result<BTreeMap<String, Link>, KernelError> {
        let mut links = BTreeMap::new();
        let take = &mut |message| {
            if let Some(Event::Link(link)) = event(&message, 0) {
                links.insert(link.name.clone(), link);
            }
        };
        dump(&mut self.dumps, Kind::Links, take).await?;
        Ok(links)
    }

    /// Closes the twins that the plan does not have, and forgets those that somebody deleted. The pump may
    /// still hold the file of a TAP, so the interface is deleted and not only closed.
    async fn close_unwanted(
        &mut self,
        plan: &TwinPlan,
        links: &BTreeMap<String, Link>,
        problems: &mut Vec<KernelError>,
    ) {
        let wanted: HashSet<&str> = plan.interfaces.iter().map(|i| i.name.as_str()).collect();
        for name in self.taps.keys().cloned().collect::<Vec<_>>() {
            let link = links.get(&name);
            if wanted.contains(name.as_str()) && link.is_some() {
                continue;
            }
            self.taps.remove(&name);
            let Some(link) = link else { continue };
            match self.handle.link().del(link.index.0).execute().await.map_err(io_error) {
                // Nobody else held the file: it went when that was closed.
                Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
                Err(e) => problems.push(interface_error(&name, "remove it".to_owned(), e)),
                Ok(()) => {}
            }
        }
    }

    fn open_missing(&mut self, netns: &Netns, plan: &TwinPlan, problems: &mut Vec<KernelError>) {
        let missing: Vec<&str> = plan
            .interfaces
            .iter()
            .map(|i| i.name.as_str())
            .filter(|name| !self.taps.contains_key(*name))
            .collect();
        if missing.is_empty() {
            return;
        }
        let open = || missing.iter().map(|name| Tap::open(name)).collect::<Vec<_>>();
        match netns.run(open) {
            Err(error) => problems.push(error),
            Ok(opened) => {
                for (name, tap) in missing.into_iter().zip(opened) {
                    match tap {
                        Ok(tap) => drop(self.taps.insert(name.to_owned(), Arc::new(tap))),
                        Err(error) => problems.push(error),
                    }
                }
            }
        }
    }

    /// Address, MTU, up: what differs, in one request.
    async fn set_up(&self, plan: &InterfacePlan, link: &Link) -> Result<(), KernelError> {
        if link.mac == Some(plan.mac) && link.mtu_bytes == plan.mtu_bytes && link.admin_up {
            return Ok(());
        }
        let mut message = LinkMessageBuilder::<LinkUnspec>::default().index(link.index.0).up();
        if link.mac != Some(plan.mac) {
            message = message.address(plan.mac.to_vec());
        }
        if link.mtu_bytes != plan.mtu_bytes {
            message = message.mtu(plan.mtu_bytes);
        }
        let done = self.handle.link().set(message.build()).execute().await;
        done.map_err(|error| {
            let [a, b, c, d, e, f] = plan.mac;
            let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
            let action = format!("set it up with MAC {mac} and MTU {}", plan.mtu_bytes);
            interface_error(&plan.name, action, io_error(error))
        })
    }

    /// Puts on the addresses of the plan that are missing and takes off those of ours that it does not have.
    async fn set_addresses(
        &mut self,
        plan: &TwinPlan,
        links: &BTreeMap<String, Link>,
        problems: &mut Vec<KernelError>,
    ) {
        let mut wanted: Vec<(&str, IpNet)> =
            plan.local_addresses.iter().map(|ip| (LOOPBACK, IpNet::from(*ip))).collect();
        for interface in &plan.interfaces {
            wanted.extend(interface.addresses.iter().map(|net| (interface.name.as_str(), *net)));
        }
        let mut wanted_here: BTreeMap<Address, &str> = BTreeMap::new();
        for (name, net) in wanted {
            if let Some(link) = links.get(name) {
                wanted_here.insert(Address { interface: link.index, net }, name);
            }
        }

        let mut present: Vec<(Address, AddressMessage)> = Vec::new();
        let take = &mut |message: RouteNetlinkMessage| {
            if let Some(Event::Address(address, true)) = event(&message, 0)
                && let RouteNetlinkMessage::NewAddress(message) = message
            {
                present.push((address, message));
            }
        };
        if let Err(error) = dump(&mut self.dumps, Kind::Addresses, take).await {
            return problems.push(error);
        }

        for (address, message) in present {
            let is_wanted = wanted_here.remove(&address).is_some();
            if !is_wanted && (is_marked(&message) || self.put.contains(&address)) {
                let done = self.handle.address().del(message).execute().await;
                let name = name_of(links, address.interface);
                problems.extend(done.err().map(|e| {
                    interface_error(name, format!("take off address {}", address.net), io_error(e))
                }));
            }
        }
        self.put.retain(|address| links.values().any(|link| link.index == address.interface));
        for (address, name) in wanted_here {
            match self.put_address(address).await {
                Ok(()) => drop(self.put.insert(address)),
                Err(e) => problems.push(interface_error(name, format!("put on address {}", address.net), e)),
            }
        }
    }

    async fn put_address(&self, address: Address) -> io::Result<()> {
        let net = address.net;
        let mut request = self.handle.address().add(address.interface.0, net.addr(), net.prefix_len());
        let message = request.message_mut();
        if net.addr().is_ipv6() {
            // Usable at once: an address that the configuration gives is not negotiated.
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        request.execute().await.map_err(io_error)
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn is_marked(message: &AddressMessage) -> bool {
    message.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)))
}

fn name_of(links: &BTreeMap<String, Link>, index: IfIndex) -> &str {
    links.values().find(|link| link.index == index).map_or("?", |link| link.name.as_str())
}

fn interface_error(interface: &str, action: String, source: io::Error) -> KernelError {
    KernelError::Interface { interface: interface.to_owned(), action, source }
}
