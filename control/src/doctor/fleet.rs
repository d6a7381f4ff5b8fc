//! The fleet's store, and the file of its keys.

use std::time::Duration;

use penstock_fleet::store::Store;

use super::{Finding, Host};
use crate::config::{EtcdConfig, FleetConfig, FleetStore, ValidConfig};
use crate::fleet::{key_file, store_settings};

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is asked for: only reading shows that certificate, user and role will do, and nothing is written.
const NOBODYS_KEY: &str = "doctor";

pub(super) fn examine(host: &Host, config: Option<&ValidConfig>) -> Vec<Finding> {
    const CHECK: &str = "fleet.store";
    let Some((config, fleet)) = config.and_then(|config| Some((config, config.fleet.as_ref()?))) else {
        return vec![Finding::not_needed(CHECK, "the configuration has no fleet")];
    };
    let mut findings = vec![keys(config)];
    match &fleet.store {
        FleetStore::Embedded => findings.push(Finding::not_needed(CHECK, "this node keeps it itself")),
        FleetStore::Etcd { etcd } => {
            let members = members(host, etcd);
            let reached = members.iter().any(|member| member.verdict == super::Verdict::Ok);
            findings.extend(members);
            if reached {
                findings.push(answers(config, fleet));
            }
        }
    }
    findings
}

fn keys(config: &ValidConfig) -> Finding {
    const CHECK: &str = "fleet.key_file";
    let (unread, wrong) = key_file::check(config);
    match unread.into_iter().chain(wrong).next() {
        Some(problem) => Finding::bad(CHECK, problem.message, problem.fix),
        None => Finding::ok(CHECK, "it can be used"),
    }
}

/// One that cannot be reached is a warning as long as another one can.
fn members(host: &Host, etcd: &EtcdConfig) -> Vec<Finding> {
    let reached: Vec<_> =
        etcd.endpoints.iter().map(|url| (url, host.reach(url.host(), url.port()))).collect();
    let any = reached.iter().any(|(_, reached)| reached.is_ok());
    let each = reached.into_iter().map(|(url, reached)| {
        let check = "fleet.store.member";
        let mend =
            format!("look at etcd there, and at firewalls between: nc -zv {} {}", url.host(), url.port());
        match reached {
            Ok(()) => Finding::ok(check, format!("{url} takes connections")),
            Err(why) if any => Finding::warning(check, format!("{url} cannot be reached: {why}"), mend),
            Err(why) => Finding::bad(check, format!("{url} cannot be reached: {why}"), mend),
        }
    });
    each.collect()
}

/// Certificates, user and role, too.
fn answers(config: &ValidConfig, fleet: &FleetConfig) -> Finding {
    const CHECK: &str = "fleet.store";
    let ask = async {
        let store = Store::open(store_settings(config, fleet)).await.map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(PATIENCE, store.get(NOBODYS_KEY)).await;
        match asked {
            Ok(found) => found.map(|_| ()).map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(ask));
    match outcome {
        Ok(()) => Finding::ok(CHECK, "it answers, and knows us"),
        Err(why) => Finding::bad(CHECK, why, "etcdctl endpoint health, with the same certificate and user"),
    }
}
