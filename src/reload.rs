//! `penstock reload`: sends a configuration, prints the difference.

use std::fmt::Write;
use std::path::{Path, absolute};

use anyhow::Context;
use penstock_control::api::{Change, ChangeAction, ConfigText, ReloadReport, ReloadRequest};

use crate::args::ReloadArgs;
use crate::ask::ask;
use crate::terminal;

pub fn reload(args: &ReloadArgs) -> anyhow::Result<()> {
    let config = args.config.as_deref().map(read).transpose()?;
    let request = ReloadRequest { dry_run: args.dry_run, config };
    let report = ask(&args.socket, async |gateway| gateway.reload(&request).await)?;
    if args.json {
        return terminal::print_json(&report);
    }
    terminal::print(&text(&report))
}

/// The text travels, not the path: the daemon may see other files, and must not read what the caller may not.
fn read(file: &Path) -> anyhow::Result<ConfigText> {
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
    let restart = report.changes.iter().filter(|change| change.needs_restart).count();
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
    if restart > 0 {
        let _ = writeln!(text, "{restart} of them take effect only when penstock is started again");
    }
    text
}

fn line(change: &Change) -> String {
    let Change { path, from, to, .. } = change;
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    let restart = if change.needs_restart { "  (needs a restart)" } else { "" };
    let difference = match change.action {
        ChangeAction::Added => match to {
            Some(to) => format!("+ {path}: {to}"),
            None => format!("+ {path}"),
        },
        ChangeAction::Removed => match from {
            Some(from) => format!("- {path}: {from}"),
            None => format!("- {path}"),
        },
        ChangeAction::Changed => format!("~ {path}: {} -> {}", value(from), value(to)),
    };
    difference + restart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: ChangeAction, from: Option<&str>, to: Option<&str>) -> Change {
        let path = "tenants.acme.tunnels.dc1.mtu".to_owned();
        Change {
            action,
            path,
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            needs_restart: false,
        }
    }

    #[test]
    fn each_difference_is_one_line() {
        let mut report = ReloadReport {
            dry_run: true,
            generation: 3,
            changes: vec![
                change(ChangeAction::Added, None, Some("1400")),
                change(ChangeAction::Removed, None, None),
                change(ChangeAction::Changed, Some("1400"), None),
            ],
            warnings: Vec::new(),
        };
        report.changes[2].needs_restart = true;
        assert_eq!(
            text(&report),
            "+ tenants.acme.tunnels.dc1.mtu: 1400\n\
             - tenants.acme.tunnels.dc1.mtu\n\
             ~ tenants.acme.tunnels.dc1.mtu: 1400 -> (none)  (needs a restart)\n\
             3 differences; dry run, nothing was changed\n\
             1 of them take effect only when penstock is started again\n"
        );
    }

    #[test]
    fn the_last_line_tells_what_happened() {
        let mut report = ReloadReport { generation: 3, ..ReloadReport::default() };
        assert_eq!(text(&report), "no difference; generation 3 goes on\n");
        report.changes.push(change(ChangeAction::Removed, Some("1400"), None));
        assert!(text(&report).ends_with("1 difference; applied; all workers have generation 3\n"));
    }
}
