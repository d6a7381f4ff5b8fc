//! `penstock doctor`: is this host fit to run the gateway, and if not, what mends it.

use std::path::Path;

use anyhow::bail;
use penstock_control::config;
use penstock_control::doctor::{Finding, Host, Live, Verdict, examine};

use crate::args::DoctorArgs;
use crate::terminal;

/// What is looked at when no file is named.
const DEFAULT: &str = "/etc/penstock/penstock.yaml";

pub fn doctor(args: &DoctorArgs) -> anyhow::Result<()> {
    let file = args.config.as_deref().or_else(|| Some(Path::new(DEFAULT)).filter(|file| file.exists()));
    let config = match file.map(config::load) {
        None => None,
        Some(Ok(config)) => Some(config),
        Some(Err(problems)) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            bail!(
                "the configuration has {} problem(s): mend it first, penstock check says the same",
                problems.len()
            );
        }
    };
    let findings = examine(&Host::new(&args.root, Live::read()), config.as_ref());
    if args.json {
        terminal::print_json(&findings)?;
    } else {
        terminal::print(&text(&findings))?;
    }
    let bad = count(&findings, Verdict::Bad);
    if bad > 0 {
        bail!("{bad} thing(s) keep the gateway from running here");
    }
    Ok(())
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict == verdict).count()
}

/// A line for each finding, what mends it below, and the sums.
fn text(findings: &[Finding]) -> String {
    let widest = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut text = String::new();
    for finding in findings {
        text += &format!("{:<11} {:<widest$}  {}\n", finding.verdict.name(), finding.check, finding.says);
        if let Some(mend) = &finding.mend {
            text += &format!("{:<11} {:<widest$}  -> {mend}\n", "", "");
        }
    }
    let sum = |verdict| count(findings, verdict);
    text += &format!(
        "\n{} ok, {} not needed, {} warning(s), {} bad\n",
        sum(Verdict::Ok),
        sum(Verdict::NotNeeded),
        sum(Verdict::Warning),
        sum(Verdict::Bad)
    );
    text
}
