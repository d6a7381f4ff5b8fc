//! The task that has to do with charon, from the first tunnel that negotiates on.

use super::state::State;
use super::{Running, RuntimeError};
use crate::config::{Problem, ValidConfig};
use crate::ike::connections::{Credentials, strongswan_conf, wanted};
use crate::ike::wanted::Wanted;
use crate::ike::{Ike, Settings, charon};

/// Reads the files that the configuration's tunnels authenticate with.
pub(super) fn read_credentials(config: &ValidConfig) -> Result<Credentials, Vec<Problem>> {
    if !config.files().is_empty() {
        super::hide_memory();
    }
    Credentials::read(config)
}

impl Running {
    /// Makes charon hold the configuration's tunnels. The answer names what did not work.
    pub(super) async fn negotiate(&mut self, credentials: &Credentials) -> Vec<String> {
        let wanted = self.lock().wanted_of_charon(credentials);
        match &self.ike {
            Some(ike) => ike.apply(wanted).await,
            None if wanted.connections.is_empty() => Vec::new(),
            None => {
                self.begin_to_negotiate(wanted).err().map(|error| error.to_string()).into_iter().collect()
            }
        }
    }

    fn begin_to_negotiate(&mut self, wanted: Wanted) -> Result<(), RuntimeError> {
        let settings = self.settings()?;
        // Files are made there, which is nothing to do with the lock held.
        let ike = Ike::start(settings, wanted)?;
        self.lock().ike = Some(ike.view());
        self.ike = Some(ike);
        Ok(())
    }

    fn settings(&self) -> Result<Settings, RuntimeError> {
        let netns = || {
            let file = self.kernel.netns().file();
            file.map_err(|source| RuntimeError::System { action: "open the namespace for charon", source })
        };
        let state = self.lock();
        let config = state.compiler.config();
        let managed = |daemon: &crate::config::ManagedCharon| -> Result<_, RuntimeError> {
            Ok(charon::Settings {
                program: daemon.charon.clone(),
                run: config.ike.run.clone(),
                text: strongswan_conf(&config.ike, daemon, config.node.number),
                vici: config.ike.vici(),
                netns: netns()?,
                core: Some(usize::from(config.cores.control)),
                plugin: Some(charon::PLUGIN.into()),
            })
        };
        Ok(Settings {
            vici: config.ike.vici(),
            plugin_socket: config.ike.plugin_socket.clone(),
            run: config.ike.run.clone(),
            managed: config.ike.managed().map(managed).transpose()?,
        })
    }
}

impl State {
    fn wanted_of_charon(&self, credentials: &Credentials) -> Wanted {
        let reqid =
            |tenant: &_, tunnel: &_| self.negotiated.reqid(&(Clone::clone(tenant), Clone::clone(tunnel)));
        wanted(self.compiler.config(), credentials, reqid)
    }
}
