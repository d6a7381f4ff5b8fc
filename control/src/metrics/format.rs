//! The two text formats, and which one is asked for.
//!
//! Prometheus asks for OpenMetrics; people with curl, promtool and older scrapers read Prometheus' own text format. They
//! differ in what the lines above the samples call a metric.

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

impl Format {
    /// What an `Accept` header asks for.
    pub fn wanted(accept: Option<&str>) -> Self {
        let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if open { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type` of an answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The text of the OpenMetrics library in this format.
    pub(super) fn of_open_metrics(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Prometheus => prometheus(&text),
        }
    }
}

/// In Prometheus' format a metric is called as its samples are, there is no type `info`, and the text just ends.
fn prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // Its name is known with the type, which comes next.
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            for words in [
                ["# HELP ", name, suffix, " ", help.take().unwrap_or_default(), "\n"],
                ["# TYPE ", name, suffix, " ", kind, "\n"],
            ] {
                words.iter().for_each(|word| out.push_str(word));
            }
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::wanted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::wanted(Some("*/*")), Format::Prometheus);
        assert_eq!(Format::wanted(None), Format::Prometheus);
    }

    #[test]
    fn names_of_samples_are_those_of_the_metric() {
        let open = "# HELP a Help of a\n# TYPE a counter\na_total{x=\"# HELP y\"} 1\n# HELP b B\n# TYPE b info\n\
                    b_info{v=\"1\"} 1\n# HELP c_seconds C\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2.5\n# EOF\n";
        assert_eq!(
            Format::Prometheus.of_open_metrics(open.to_owned()),
            "# HELP a_total Help of a\n# TYPE a_total counter\na_total{x=\"# HELP y\"} 1\n# HELP b_info B\n# TYPE b_info gauge\n\
             b_info{v=\"1\"} 1\n# HELP c_seconds C\n# TYPE c_seconds gauge\nc_seconds 2.5\n"
        );
        assert_eq!(Format::OpenMetrics.of_open_metrics(open.to_owned()), open);
    }
}
