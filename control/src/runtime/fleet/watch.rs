//! What the store says: nodes, SAs, tenants, path MTUs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use penstock_fleet::names::{KeyName, Name, SaName, TunnelName};
use penstock_fleet::seal::Keyring;
use penstock_fleet::store::{Entry, Event, Store, Watch, Why};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Applying, FleetState, State, now, unix_millis};
use crate::fleet::record::SaRecord;
use crate::runtime::negotiated::foreign::InStore;

/// Records that are opened and decoded before others of the thread have their turn.
const CHUNK: usize = 128;

/// What is known of the path to a tunnel's remote.
#[derive(Serialize, Deserialize)]
pub(super) struct SharedPathMtu {
    pub(super) mtu: u32,
    /// Which node learned it.
    pub(super) node: u16,
}

/// Takes what the store says, until the store's tasks end.
pub(super) async fn follow(state: Arc<Mutex<State>>, store: Store) {
    let mut watch: Watch = store.watch("", None);
    let taker = Taker { state };
    while let Some(event) = watch.next().await {
        taker.take(event).await;
    }
}

struct Taker {
    state: Arc<Mutex<State>>,
}

/// Whose key, its version, and the key if it opens.
type StoredPsk = (TunnelName, u64, Option<Zeroizing<Vec<u8>>>);

/// What a batch of entries comes to.
#[derive(Default)]
struct Sorted {
    sas: Vec<InStore>,
    owners: BTreeSet<u16>,
    nodes: Vec<Entry>,
    tenants: Vec<(Name, Entry)>,
    path_mtus: Vec<(Name, Name, Vec<u8>)>,
    psks: Vec<StoredPsk>,
    refused: Vec<(String, String)>,
}

impl Taker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, event: Event) {
        if !matches!(event, Event::Away { .. })
            && let Some(fleet) = &mut self.lock().fleet
        {
            fleet.hears_store(Instant::now());
        }
        match event {
            Event::Reset { why, store, revision, entries } => {
                let sorted = self.sort(entries).await;
                self.lock().listed_by_store(why, &store.to_string(), revision.0, sorted);
            }
            Event::Changed { revision, puts, deletes } => {
                let sorted = self.sort(puts).await;
                self.lock().changed_by_store(revision.0, sorted, &deletes);
            }
            Event::Progress(revision) => self.lock().changed_by_store(revision.0, Sorted::default(), &[]),
            Event::Away { error } => self.lock().store_away(error.to_string()),
            Event::Back => self.lock().store_back(),
        }
        // To take a long listing is no silence of the store's.
        if let Some(fleet) = &mut self.lock().fleet {
            fleet.heard = Some(Instant::now());
        }
    }

    /// Opens and decodes, with pauses.
    async fn sort(&self, entries: Vec<Entry>) -> Sorted {
        let keyring = self.lock().fleet.as_ref().map(|fleet| Arc::clone(&fleet.keyring));
        let mut sorted = Sorted::default();
        let Some(keyring) = keyring else { return sorted };
        for (count, entry) in entries.into_iter().enumerate() {
            if count % CHUNK == CHUNK - 1 {
                tokio::task::yield_now().await;
            }
            sorted.add(entry, &keyring);
        }
        sorted
    }
}

impl Sorted {
    fn add(&mut self, entry: Entry, keyring: &Keyring) {
        let key: KeyName = match entry.key.parse() {
            Ok(key) => key,
            Err(error) => return self.refused.push((entry.key, error.to_string())),
        };
        match key {
            KeyName::Node(_) => self.nodes.push(entry),
            KeyName::Sa(name) => self.add_sa(name, &entry, keyring),
            KeyName::Tenant(name) => self.tenants.push((name, entry)),
            KeyName::PathMtu((tenant, tunnel)) => self.path_mtus.push((tenant, tunnel, entry.value)),
            KeyName::Senders => {
                if let Err(error) = keyring.open(&entry.key, entry.version, &entry.value) {
                    self.refused.push((entry.key, error.to_string()));
                }
            }
            KeyName::Psk(tunnel) => {
                let opened = keyring.open(&entry.key, entry.version, &entry.value);
                if let Err(why) = &opened {
                    self.refused.push((entry.key, why.to_string()));
                }
                self.psks.push((tunnel, entry.version, opened.ok()));
            }
            KeyName::Meta | KeyName::Number(_) => {}
        }
    }

    fn add_sa(&mut self, name: SaName, entry: &Entry, keyring: &Keyring) {
        let opened = keyring.open(&entry.key, entry.version, &entry.value);
        let record = opened.map_err(|error| error.to_string()).and_then(|bytes| {
            let record = SaRecord::decode(&bytes).map_err(|error| error.to_string())?;
            if record.name() == name { Ok(record) } else { Err("it is of another SA".to_owned()) }
        });
        if let Err(why) = &record {
            self.refused.push((entry.key.clone(), why.clone()));
        }
        self.owners.insert(name.owner.0);
        let (revision, version) = (entry.modified.0, entry.version);
        self.sas.push(InStore { name, revision, version, record: record.ok() });
    }
}

impl FleetState {
    /// Whether there is another key than before.
    fn take_psks(&mut self, psks: Vec<StoredPsk>) -> bool {
        psks.into_iter()
            .fold(false, |changed, (tunnel, version, psk)| self.psks.put(tunnel, version, psk) || changed)
    }
}

impl State {
    fn listed_by_store(&mut self, why: Why, store: &str, revision: u64, sorted: Sorted) {
        let Some(fleet) = &mut self.fleet else { return };
        let words = match why {
            Why::Start => "the node started",
            Why::Compacted => "the store was compacted meanwhile",
            Why::WentBack => "the store was restored from a backup",
            Why::OtherStore => "it is another store than before",
            Why::Slow => "this node was too slow",
        };
        let is_restored = matches!(why, Why::WentBack | Why::OtherStore);
        if is_restored {
            tracing::error!(
                "{words}: what this node has is written again, and nothing is forgotten for that"
            );
            fleet.applied = 0;
        }
        fleet.set_store(store);
        fleet.store.listings += 1;
        fleet.store.last_listing = Some(words.to_owned());
        let clock = unix_millis();
        fleet.members.listed(clock, sorted.nodes.iter().map(|entry| (entry.key.as_str(), &*entry.value)));
        let there: BTreeSet<&Name> = sorted.tenants.iter().map(|(name, _)| name).collect();
        let mut gone = fleet.objects.keep_only(|name| there.contains(name));
        gone |= fleet.psks.keep_only(&sorted.psks.iter().map(|(tunnel, ..)| tunnel).collect());
        gone |= fleet.take_psks(sorted.psks);
        self.take_rest(revision, sorted.refused, &sorted.path_mtus, &sorted.tenants, gone);
        self.begin_to_share();
        let (negotiated, mut gear) = self.negotiating();
        let unusable = negotiated.listed_in_store(revision, sorted.sas, is_restored, &mut gear, now());
        self.refuse_unusable(unusable);
        self.applies(revision, sorted.owners);
        self.store_back();
        self.members_changed();
    }

    fn changed_by_store(&mut self, revision: u64, sorted: Sorted, deletes: &[String]) {
        let Some(fleet) = &mut self.fleet else { return };
        let keys_changed = fleet.take_psks(sorted.psks);
        let clock = unix_millis();
        let mut nodes_changed = !sorted.nodes.is_empty();
        for entry in &sorted.nodes {
            fleet.members.put(clock, &entry.key, &entry.value);
        }
        let (mut gone, mut owners, mut sas_gone) = (keys_changed, sorted.owners, Vec::new());
        for key in deletes {
            match key.parse() {
                Ok(KeyName::Node(_)) => {
                    fleet.members.deleted(key);
                    nodes_changed = true;
                }
                Ok(KeyName::Tenant(tenant)) => {
                    gone |= fleet.objects.remove(&tenant);
                }
                Ok(KeyName::Psk(tunnel)) => gone |= fleet.psks.remove(&tunnel),
                Ok(KeyName::Sa(sa)) => {
                    owners.insert(sa.owner.0);
                    sas_gone.push(sa);
                }
                _ => {}
            }
        }
        self.take_rest(revision, sorted.refused, &sorted.path_mtus, &sorted.tenants, gone);
        let (negotiated, mut gear) = self.negotiating();
        let unusable = negotiated.changed_in_store(revision, sorted.sas, &sas_gone, &mut gear, now());
        self.refuse_unusable(unusable);
        self.applies(revision, owners);
        if nodes_changed {
            self.members_changed();
        }
    }

    /// What is not of SAs.
    fn take_rest(
        &mut self,
        revision: u64,
        refused: Vec<(String, String)>,
        path_mtus: &[(Name, Name, Vec<u8>)],
        tenants: &[(Name, Entry)],
        tenants_gone: bool,
    ) {
        let Some(fleet) = &mut self.fleet else { return };
        fleet.store.revision = revision;
        for (key, why) in refused {
            fleet.refuse(&key, &why);
        }
        let mut changed = tenants_gone;
        for (name, entry) in tenants {
            changed |= fleet.objects.put(name.clone(), entry.version, &entry.value);
        }
        if changed {
            fleet.objects_changed += 1;
            fleet.signals.objects.notify_one();
        }
        let number = fleet.us.number.0;
        for (tenant, tunnel, value) in path_mtus {
            let Ok(shared) = serde_json::from_slice::<SharedPathMtu>(value) else { continue };
            let id = self.compiler.tunnel_id(tenant, tunnel);
            if let Some(id) = id.filter(|_| shared.node != number) {
                let now = Instant::now();
                self.compiler.learn_path_mtu(id, shared.mtu, now);
                self.hint_path_mtu(id, shared.mtu, now);
            }
        }
    }

    fn refuse_unusable(&mut self, unusable: Vec<(SaName, String)>) {
        if let Some(fleet) = &mut self.fleet {
            for (name, why) in unusable {
                fleet.refuse(&name.to_string(), &why);
            }
        }
        self.publish_fleet();
    }

    /// The workers are given what came with a revision.
    fn applies(&mut self, revision: u64, owners: BTreeSet<u16>) {
        let Some(fleet) = &mut self.fleet else { return };
        let generation = self.dataplane.feed.generation();
        fleet.applying.push_back(Applying { revision, generation, owners, since: Instant::now() });
        fleet.signals.apply.notify_one();
    }

    pub(super) fn members_changed(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        for notice in fleet.members.take_notices() {
            if notice.is_warning() {
                tracing::warn!("{notice}");
            } else {
                tracing::info!("{notice}");
            }
        }
        let FleetState { acknowledgements, members, .. } = fleet;
        acknowledgements.set_members(members);
        self.set_rescue();
    }

    fn store_away(&mut self, problem: String) {
        let Some(fleet) = &mut self.fleet else { return };
        if fleet.store.connected || fleet.store.problem.is_none() {
            tracing::error!("{problem}");
        }
        fleet.store.connected = false;
        fleet.store.away_since.get_or_insert_with(Instant::now);
        fleet.store.problem = Some(problem);
    }

    fn store_back(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        if let Some(since) = fleet.store.away_since.take() {
            tracing::warn!(after_s = since.elapsed().as_secs(), "the fleet's store answers again");
        }
        fleet.store.connected = true;
        fleet.store.problem = None;
        fleet.signals.write.notify_one();
    }

    pub(super) fn publish_fleet(&mut self) {
        if self.negotiated.take_unpublished() {
            self.publish();
        }
    }
}
