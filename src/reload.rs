//! `penstock reload`: sends a configuration, prints the difference.

use std::fmt::Write;
use std::path::{Path, absolute};

use anyhow::{Context, bail};
use penstock_control::api::{Change, ChangeKind, ConfigText, ReloadReport, ReloadRequest};
use serde_json::Value;

use crate::args::ReloadArgs;
use crate::ask::ask;
use crate::terminal;

pub fn reload(args: &ReloadArgs) -> anyhow::Result<()> {
    let config = args.config.as_deref().map(read).transpose()?;
    let request = ReloadRequest { dry_run: args.dry_run, config };
    let report = ask(&args.socket, async |gateway| gateway.reload(&request).await)?;
    if args.json {
        terminal::print_json(&report)?;
    } else {
        terminal::print(&text(&report))?;
    }
    let fixed: Vec<&str> = report
        .changes
        .iter()
        .filter(|change| change.needs_restart)
        .map(|change| change.path.as_str())
        .collect();
    if !fixed.is_empty() {
        bail!("a reload would be refused: only a restart can change {}", fixed.join(", "));
    }
    Ok(())
}

/// The text travels, not the path: the daemon may see other files, and must not read what the caller may not.
pub fn read(file: &Path) -> anyhow::Result<ConfigText> {
    let yaml = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let source = absolute(file).unwrap_or_else(|_| file.to_owned());
    Ok(ConfigText { source: source.display().to_string(), yaml })
}

fn text(report: &ReloadReport) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for change in &report.changes {
        let _ = writeln!(text, "{}", line(change));
    }
    let count = match report.changes.len() {
        0 => "no difference".to_owned(),
        1 => "1 difference".to_owned(),
        many => format!("{many} differences"),
    };
    let outcome = match (report.dry_run, report.changes.len()) {
        (true, _) => "dry run, nothing was changed".to_owned(),
        (false, 0) => format!("generation {} goes on", report.generation),
        (false, _) => format!("applied; all workers have generation {}", report.generation),
    };
    let _ = writeln!(text, "{count}; {outcome}");
    text
}

/// One difference.
pub fn line(change: &Change) -> String {
    let Change { kind, path, old, new, needs_restart } = change;
    let sign = match kind {
        ChangeKind::Added => '+',
        ChangeKind::Changed => '~',
        ChangeKind::Removed => '-',
    };
    let value = match (old, new) {
        (Some(old), Some(new)) => format!(": {} -> {}", plain(old), plain(new)),
        (Some(value), None) | (None, Some(value)) => format!(": {}", plain(value)),
        (None, None) => String::new(),
    };
    let restart = if *needs_restart { "  (needs a restart)" } else { "" };
    format!("{sign} {path}{value}{restart}")
}

/// Strings as they stand in YAML, the rest as JSON on one line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, old: Option<Value>, new: Option<Value>) -> Change {
        Change { kind, path: "tenants.acme.tunnels.dc1.mtu".to_owned(), old, new, needs_restart: false }
    }

    #[test]
    fn each_difference_is_one_line() {
        let mut report = ReloadReport {
            dry_run: true,
            changes: vec![
                change(ChangeKind::Added, None, Some(Value::from(1400))),
                change(ChangeKind::Removed, Some(serde_json::json!({"ttl": 64})), None),
                change(ChangeKind::Changed, Some(Value::from(1400)), Some(Value::from("auto"))),
            ],
            ..ReloadReport::default()
        };
        report.changes[2].needs_restart = true;
        assert_eq!(
            text(&report),
            "+ tenants.acme.tunnels.dc1.mtu: 1400\n\
             - tenants.acme.tunnels.dc1.mtu: {\"ttl\":64}\n\
             ~ tenants.acme.tunnels.dc1.mtu: 1400 -> auto  (needs a restart)\n\
             3 differences; dry run, nothing was changed\n"
        );
    }

    #[test]
    fn the_last_line_tells_what_happened() {
        let mut report = ReloadReport { generation: 3, ..ReloadReport::default() };
        assert_eq!(text(&report), "no difference; generation 3 goes on\n");
        report.changes.push(change(ChangeKind::Removed, Some(Value::from(1400)), None));
        assert!(text(&report).ends_with("1 difference; applied; all workers have generation 3\n"));
    }
}
