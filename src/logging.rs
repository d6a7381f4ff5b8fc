//! Where the log goes, in which form, and how much of it.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Lines of one kind that may come at once: a thousand tunnels come up together.
const BURST: u32 = 1000;
/// What one line of a kind costs after these.
const REFILL: Duration = Duration::from_millis(100);
/// What says how much was left out.
const THROTTLE: &str = "penstock::log_throttle";

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// journald where standard error leads there, else text.
    Auto,
    /// A line for people.
    Text,
    /// A line of JSON.
    Json,
    /// To systemd's journal, each field by its name.
    Journald,
}

/// Refuses a bad filter while the command line is read.
pub fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; use error, warn, info, debug, trace, or module=level,...")),
    }
}

/// Begins to log.
///
/// # Errors
/// When the filter makes no sense, or the journal is not there.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(filter)?);
    match resolve(format) {
        LogFormat::Journald => {
            let journal = tracing_journald::layer().context(
                "systemd's journal cannot be reached (/run/systemd/journal/socket); use --log-format text",
            )?;
            // As syslog(3) has them: the crate's own take `info` for a notice.
            let priorities = PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            };
            let journal =
                journal.with_syslog_identifier("penstock".to_owned()).with_priority_mappings(priorities);
            registry.with(Throttled::new(journal)).init();
        }
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(stderr);
            registry.with(Throttled::new(json)).init();
        }
        LogFormat::Auto | LogFormat::Text => {
            let text = fmt::layer().with_ansi(stderr().is_terminal()).with_writer(stderr);
            registry.with(Throttled::new(text)).init();
        }
    }
    Ok(())
}

fn resolve(format: LogFormat) -> LogFormat {
    let journal = std::env::var("JOURNAL_STREAM").ok();
    let leads_to_the_journal = || {
        let stream = std::fs::metadata("/dev/stderr").ok()?;
        Some(journal? == format!("{}:{}", stream.dev(), stream.ino()))
    };
    match format {
        LogFormat::Auto if leads_to_the_journal() == Some(true) => LogFormat::Journald,
        format => format,
    }
}

/// Passes on what is not too much. What a stranger can cause does not fill the disk: each place in the code that logs has
/// a budget of its own, so that a flood of one kind hides no other. Debugging (`debug`, `trace`) is not limited.
struct Throttled<L> {
    inner: L,
    budgets: Mutex<HashMap<Identifier, Budget>>,
}

impl<L> Throttled<L> {
    fn new(inner: L) -> Self {
        Self { inner, budgets: Mutex::default() }
    }

    /// Whether a line may be written; if so, how many of its kind were not since the last one.
    fn admit(&self, place: Identifier, now: Instant) -> Option<u64> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.entry(place).or_insert_with(|| Budget::new(now)).take(now)
    }
}

impl<S, L> Layer<S> for Throttled<L>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    L: Layer<S>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let place = event.metadata();
        if *place.level() > Level::INFO || place.target() == THROTTLE {
            self.inner.on_event(event, context);
            return;
        }
        let Some(left_out) = self.admit(place.callsite(), Instant::now()) else { return };
        self.inner.on_event(event, context);
        if left_out > 0 {
            tracing::warn!(target: THROTTLE, left_out, "lines like the one before were too many");
        }
    }
}

/// A token bucket for one place in the code.
struct Budget {
    tokens: u32,
    refilled: Instant,
    left_out: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, refilled: now, left_out: 0 }
    }

    fn take(&mut self, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = u32::try_from(elapsed.as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if earned >= BURST {
            (self.tokens, self.refilled) = (BURST, now);
        } else {
            self.tokens = (self.tokens + earned).min(BURST);
            self.refilled += REFILL * earned;
        }
        match self.tokens.checked_sub(1) {
            Some(rest) => {
                self.tokens = rest;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, LazyLock};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn take(&self) -> Vec<u8> {
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged meanwhile, by a subscriber of the whole process, as in `start`: one of a scope hears nothing of what
    /// another layer says, and so not of what was left out.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        static LINES: LazyLock<Lines> = LazyLock::new(|| {
            let lines = Lines::default();
            let writer = lines.clone();
            let text = fmt::layer().without_time().with_ansi(false).with_writer(move || writer.clone());
            let subscriber = tracing_subscriber::registry().with(Throttled::new(text));
            tracing::subscriber::set_global_default(subscriber).expect("there is no other");
            lines
        });
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        LINES.take();
        work();
        String::from_utf8_lossy(&LINES.take()).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_other_and_is_counted() {
        let flood = |lines: u32| {
            for line in 0..lines {
                tracing::info!(line, "flood");
            }
        };
        let lines = logged(|| {
            flood(BURST + 5000);
            tracing::error!("something else");
            std::thread::sleep(REFILL * 2);
            flood(1);
        });
        let floods = lines.iter().filter(|line| line.contains("flood line=")).count();
        assert!((BURST as usize..BURST as usize + 500).contains(&floods), "{floods} lines");
        assert!(lines.iter().any(|line| line.contains("something else")));
        let left_out = lines.iter().filter(|line| line.contains("left_out=")).count();
        assert!(left_out >= 1, "what was left out is said: {:?}", lines.last());
    }

    #[test]
    fn debugging_is_not_limited() {
        let lines = logged(|| (0..BURST * 2).for_each(|line| tracing::debug!(line, "detail")));
        let details = lines.iter().filter(|line| line.contains("detail line=")).count();
        assert_eq!(details, BURST as usize * 2);
    }

    #[test]
    fn a_budget_comes_back_with_time() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert!((0..BURST).all(|_| budget.take(start) == Some(0)));
        assert_eq!((budget.take(start), budget.take(start)), (None, None));
        assert_eq!(budget.take(start + REFILL), Some(2), "two were left out");
        assert_eq!(budget.take(start + REFILL), None);
        let later = start + REFILL * BURST * 3;
        assert!((0..BURST).all(|_| budget.take(later).is_some()), "no more than the burst is saved up");
        assert_eq!(budget.take(later), None);
    }
}
