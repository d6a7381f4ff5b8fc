//! From a new configuration to running tables: validate all, say the difference, apply it, wait for every
//! worker. Nothing is changed unless everything can be.

use std::time::{Duration, Instant};

use super::Running;
use super::state::{LastReload, Source};
use crate::api::{ApiError, ConfigText, ErrorCode, Problem, ReloadReport, ReloadRequest};
use crate::config::{self, ValidConfig};
use crate::static_sas::{self, StaticSas};

/// How long workers may take to take over new tables. They look between any two bursts.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
pub(super) const SETTLE_STEP: Duration = Duration::from_micros(500);

impl Running {
    /// What `penstock reload` does.
    pub(super) async fn reload(&mut self, request: ReloadRequest) -> Result<ReloadReport, ApiError> {
        let dry_run = request.dry_run;
        let outcome = self.try_reload(request).await;
        if !dry_run {
            let (changes, error) = match &outcome {
                Ok(report) => (report.changes.len() as u64, None),
                Err(error) => (0, Some(error.to_string())),
            };
            self.lock().last_reload = Some(LastReload { at: Instant::now(), changes, error });
        }
        outcome
    }

    async fn try_reload(&mut self, request: ReloadRequest) -> Result<ReloadReport, ApiError> {
        let text = match request.config {
            Some(text) => text,
            None => self.read_own_file()?,
        };
        let shared =
            self.lock().fleet.as_ref().map(|fleet| fleet.objects.shared().clone()).unwrap_or_default();
        let new = config::parse_joined("", &text.yaml, &shared)
            .map_err(|problems| ApiError::invalid_config(&text.source, problems))?;
        let sas = self.read_own_sas(&new)?;
        let credentials = super::charon::read_credentials(&new)
            .map_err(|problems| ApiError::invalid_config(&text.source, problems))?;
        let difference = {
            let state = self.lock();
            let mut difference = config::diff(state.compiler.config(), &new);
            difference.changes.extend(static_sas::diff(&state.static_sas, &sas)?);
            difference
        };
        let report = |dry_run, generation, difference| {
            let mut report = ReloadReport::new(dry_run, generation, difference, &text.source, &new);
            report.warnings.extend(sas.warnings().iter().map(|warning| Problem::of("", warning.clone())));
            report
        };
        if request.dry_run {
            let generation = self.lock().dataplane.publisher.generation();
            return Ok(report(true, generation, difference));
        }
        difference.live()?;
        let listen = new.metrics.listen;
        let listening = self
            .exporter
            .prepare(listen)
            .map_err(|error| ApiError::new(ErrorCode::ReloadFailed, error.to_string()))?;
        self.exporter.adopt(listen, listening);
        let mut problems = self.apply(new.clone(), sas.clone(), &text).await;
        problems.extend(self.lock().reload_fleet_keys().err());
        problems.extend(self.negotiate(&credentials).await);
        if !problems.is_empty() {
            let message =
                format!("applied, but not completely: {}. Mend it and reload again", problems.join("; "));
            return Err(ApiError::new(ErrorCode::ReloadFailed, message));
        }
        let generation = self.settled().await?;
        Ok(report(false, generation, difference))
    }

    /// The security associations, which never travel: only the daemon reads keys.
    fn read_own_sas(&self, config: &ValidConfig) -> Result<StaticSas, ApiError> {
        let Some(file) = self.lock().files.static_sas.clone() else { return Ok(StaticSas::default()) };
        let source = file.display().to_string();
        super::read_sas(&file, config).map_err(|problems| ApiError::invalid_config(&source, problems))
    }

    fn read_own_file(&self) -> Result<ConfigText, ApiError> {
        let file = self.lock().files.config.clone();
        let yaml = std::fs::read_to_string(&file).map_err(|error| {
            let message = format!("{} cannot be read: {error}", file.display());
            ApiError::new(ErrorCode::ReloadFailed, message)
        })?;
        Ok(ConfigText { source: file.display().to_string(), yaml })
    }

    /// Interfaces that come get their twin before packets use them.
    async fn apply(&mut self, config: ValidConfig, sas: StaticSas, text: &ConfigText) -> Vec<String> {
        let mut problems = Vec::new();
        {
            let mut state = self.lock();
            state.static_sas = sas;
            state.compiler.configure(config);
            state.note_tunnels();
            state.probe_tunnels();
            let (negotiated, mut gear) = state.negotiating();
            negotiated.set_tunnels(&mut gear);
            problems.extend(state.open_negotiated().err().map(|error| error.to_string()));
            state.shape_tunnels();
            state.source =
                Source { name: text.source.clone(), yaml: text.yaml.clone(), since: Instant::now() };
        }
        problems.extend(self.apply_kernel_plan().await);
        self.publish();
        self.begin_senders().await;
        problems.extend(self.serve_charon().err().map(|error| error.to_string()));
        problems.extend(self.install().await);
        problems
    }

    async fn settled(&self) -> Result<u64, ApiError> {
        let deadline = Instant::now() + SETTLE;
        loop {
            {
                let mut state = self.lock();
                state.settle();
                if state.dataplane.publisher.is_settled() {
                    return Ok(state.dataplane.publisher.generation());
                }
            }
            if Instant::now() > deadline {
                let message = "applied, but not all workers have taken over the new tables within 5 s; see `penstock show cores`";
                return Err(ApiError::new(ErrorCode::ReloadFailed, message));
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }
}
