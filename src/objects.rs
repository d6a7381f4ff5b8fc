//! `penstock apply`, `get` and `delete`: tenants of the fleet.

use std::collections::BTreeMap;

use anyhow::bail;
use penstock_control::api::{ApplyReport, ApplyRequest, DeleteRequest, TenantObject};
use serde_json::{Value, json};

use crate::args::{ApplyArgs, Deletable, DeleteArgs, GetArgs, Gettable};
use crate::ask::ask;
use crate::reload::{line, read};
use crate::terminal;

/// Stands in front of what `get` prints: `apply` refuses to overwrite anything newer.
const VERSIONS: &str = "# versions: ";

pub fn apply(args: &ApplyArgs) -> anyhow::Result<()> {
    let config = read(&args.file)?;
    let versions = versions(&config.yaml);
    let request = ApplyRequest { dry_run: args.dry_run, config, versions };
    let report = ask(&args.socket, async |gateway| gateway.apply(&request).await)?;
    print(&report, args.json)
}

pub fn get(args: &GetArgs) -> anyhow::Result<()> {
    let Gettable::Tenants { names } = &args.what;
    let page = ask(&args.socket, async |gateway| gateway.tenants().await)?;
    if let Some(missing) = names.iter().find(|name| page.rows.iter().all(|row| row.name != **name)) {
        bail!("the fleet's store has no tenant {missing}");
    }
    let wanted = |row: &TenantObject| names.is_empty() || names.contains(&row.name);
    let rows: Vec<TenantObject> = page.rows.into_iter().filter(wanted).collect();
    if args.json { terminal::print_json(&rows) } else { terminal::print(&yaml(&rows)?) }
}

pub fn delete(args: &DeleteArgs) -> anyhow::Result<()> {
    let (tenant, tunnel) = match &args.what {
        Deletable::Tenant { name } => (name.clone(), None),
        Deletable::Tunnel { tenant, name } => (tenant.clone(), Some(name.clone())),
    };
    let request = DeleteRequest { dry_run: args.dry_run, tenant, tunnel };
    let report = ask(&args.socket, async |gateway| gateway.delete(&request).await)?;
    print(&report, args.json)
}

fn print(report: &ApplyReport, json: bool) -> anyhow::Result<()> {
    if json { terminal::print_json(report) } else { terminal::print(&text(report)) }
}

fn text(report: &ApplyReport) -> String {
    let mut text: String = report.changes.iter().map(|change| line(change) + "\n").collect();
    text.push_str(&match (report.dry_run, report.revision) {
        (true, _) => "dry run, nothing was changed\n".to_owned(),
        (false, None) => "no difference; nothing was written\n".to_owned(),
        (false, Some(revision)) => {
            format!("written as revision {revision}; `penstock show fleet` tells which nodes have it\n")
        }
    });
    text
}

/// What `apply` takes.
fn yaml(rows: &[TenantObject]) -> anyhow::Result<String> {
    let versions: BTreeMap<_, _> = rows.iter().map(|row| (&row.name, row.version)).collect();
    let tenants: serde_json::Map<String, Value> =
        rows.iter().map(|row| (row.name.clone(), row.tenant.clone())).collect();
    let body = serde_yaml::to_string(&json!({ "tenants": tenants }))?;
    Ok(format!("{VERSIONS}{}\n{body}", serde_json::to_string(&versions)?))
}

/// What `get` had noted. A file without a note may overwrite anything.
fn versions(text: &str) -> BTreeMap<String, u64> {
    let note = text.lines().next().and_then(|line| line.strip_prefix(VERSIONS));
    note.and_then(|note| serde_json::from_str(note).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_get_prints_apply_takes_with_its_versions() {
        let tenant = json!({"prefixes": ["198.51.100.0/24"], "tunnels": {"dc1": {"mtu": 1400}}});
        let text = yaml(&[TenantObject { name: "acme".into(), version: 4, tenant: tenant.clone() }]).unwrap();
        assert_eq!(versions(&text), [("acme".to_owned(), 4)].into());
        let found = penstock_control::config::tenants_in("", &text).unwrap();
        assert_eq!(found.into_values().collect::<Vec<_>>(), [tenant]);
    }

    #[test]
    fn a_file_by_hand_has_no_versions() {
        assert!(versions("tenants: {}").is_empty());
        assert!(versions("# versions: nonsense").is_empty());
        assert!(versions("").is_empty());
    }
}
