//! One look at the gateway after the other, from a thread of its own.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use penstock_control::api::{
    Client, ClientError, CoreRow, DropRow, PortRow, SaFilter, SaRow, Status, TunnelFilter, TunnelRow,
};

use crate::args::{SocketArgs, TopArgs};
use crate::ask::ask;

/// Of all time at most this part is spent with asking: a gateway with very many tunnels has better things to do.
const SHARE: u32 = 5;

/// Tenant and name of a tunnel.
pub type Name = (String, String);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Look {
    /// When.
    pub at: Instant,
    pub status: Status,
    pub ports: Vec<PortRow>,
    pub cores: Vec<CoreRow>,
    pub drops: Vec<DropRow>,
    pub tunnels: Vec<TunnelRow>,
    /// Associations of the tunnel that is open.
    pub sas: Vec<SaRow>,
}

/// The thread that looks.
pub struct Looker {
    looks: Receiver<Result<Look, String>>,
    opened: Arc<Mutex<Option<Name>>>,
}

impl Looker {
    /// Looks once, and then again and again.
    pub fn start(args: &TopArgs) -> anyhow::Result<(Self, Look)> {
        let first = ask(&args.socket, async |gateway| look(&gateway, None).await)?;
        let opened: Arc<Mutex<Option<Name>>> = Arc::default();
        let wanted = Arc::clone(&opened);
        let (sender, looks) = sync_channel(1);
        let socket = SocketArgs { socket: args.socket.socket.clone() };
        let interval = Duration::from_secs_f64(args.interval);
        thread::Builder::new().name("look".to_owned()).spawn(move || {
            let mut wait = interval;
            loop {
                thread::sleep(wait);
                let start = Instant::now();
                let tunnel = wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let seen = ask(&socket, async |gateway| look(&gateway, tunnel.as_ref()).await);
                wait = interval.max(start.elapsed() * (SHARE - 1));
                // Nobody is there any more: the command ends.
                if sender.send(seen.map_err(|error| error.to_string())).is_err() {
                    return;
                }
            }
        })?;
        Ok((Self { looks, opened }, first))
    }

    /// What was seen since, if anything.
    pub fn next(&self) -> Option<Result<Look, String>> {
        self.looks.try_recv().ok()
    }

    /// From now on the associations of this tunnel are looked at, too.
    pub fn open(&self, tunnel: Option<Name>) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = tunnel;
    }
}

async fn look(gateway: &Client, opened: Option<&Name>) -> Result<Look, ClientError> {
    let all = TunnelFilter { tenant: None, tunnel: None, state: None, limit: 0 };
    let sas = match opened {
        Some((tenant, tunnel)) => {
            let these = SaFilter { tenant: Some(tenant.clone()), tunnel: Some(tunnel.clone()), limit: 0 };
            gateway.sas(&these).await?.rows
        }
        None => Vec::new(),
    };
    Ok(Look {
        status: gateway.status().await?,
        ports: gateway.ports().await?.rows,
        cores: gateway.cores().await?.rows,
        drops: gateway.drops().await?.rows,
        tunnels: gateway.tunnels(&all).await?.rows,
        sas,
        at: Instant::now(),
    })
}
