//! Metrics as tables: name, kind, help and where the value stands in a row.

use std::fmt;

use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabel,
    EncodeLabelSet, GaugeValueEncoder, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// What all names begin with.
pub(super) const PREFIX: &str = "penstock";

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins anew with the process; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Always 1; its labels tell something. Its name ends in `_info`.
    Info,
    /// Counts of what was not larger than each of some bounds.
    Histogram,
}

impl Kind {
    /// Its name in the formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }

    /// What follows the name of a metric in its samples. Of a histogram's there are several.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Info => MetricType::Info,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Whole(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl EncodeCounterValue for Value {
    fn encode(&self, encoder: &mut CounterValueEncoder) -> fmt::Result {
        match self {
            Self::Whole(value) => EncodeCounterValue::encode(value, encoder),
            Self::Real(value) => EncodeCounterValue::encode(value, encoder),
        }
    }
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> fmt::Result {
        match self {
            Self::Whole(value) => EncodeGaugeValue::encode(value, encoder),
            Self::Real(value) => EncodeGaugeValue::encode(value, encoder),
        }
    }
}

/// What a table is about: one series for each row and metric.
pub(super) trait Row {
    /// Names of the labels.
    const LABELS: &'static [&'static str];

    /// Gives the labels' values to `with`, in the same order.
    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result;
}

/// One metric of a table of `T`.
pub(super) struct Metric<T: 'static> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// `None`: this row does not have it.
    value: fn(&T) -> Option<Value>,
}

/// A metric that only grows.
pub(super) const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Metric<T> {
    Metric { name, kind: Kind::Counter, help, value }
}

/// A metric that goes up and down.
pub(super) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Metric<T> {
    Metric { name, kind: Kind::Gauge, help, value }
}

/// A metric whose labels are what it tells.
pub(super) const fn info<T>(name: &'static str, help: &'static str) -> Metric<T> {
    Metric { name, kind: Kind::Info, help, value: |_| Some(Value::Whole(1)) }
}

/// A value that every row has.
pub(super) fn some(value: impl Into<Value>) -> Option<Value> {
    Some(value.into())
}

/// The labels of a row, as the library asks for them.
struct Labels<'a, T>(&'a T);

impl<T: Row> EncodeLabelSet for Labels<'_, T> {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        let mut names = T::LABELS.iter();
        self.0.labels(&mut |value| match names.next() {
            Some(name) => (*name, value).encode(encoder.encode_label()),
            None => Ok(()),
        })
    }
}

/// A metric as the documentation has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its whole name.
    pub name: String,
    /// How it behaves.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Described {
    pub(super) fn new(name: &str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name: format!("{PREFIX}_{name}{}", kind.suffix()), kind, labels, help }
    }
}

/// Sum, count, and what each bucket has alone: its upper bound and how many.
pub(super) type Distribution<'a> = (f64, u64, &'a [(f64, u64)]);

/// What goes through all tables.
pub(super) trait Visitor {
    fn table<T: Row>(&mut self, metrics: &'static [Metric<T>], rows: &[T]) -> fmt::Result;
    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: Option<Distribution<'_>>,
    ) -> fmt::Result;
}

/// Writes all samples down.
pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Visitor for Writer<'_> {
    fn table<T: Row>(&mut self, metrics: &'static [Metric<T>], rows: &[T]) -> fmt::Result {
        for metric in metrics {
            let mut family =
                self.0.encode_descriptor(metric.name, metric.help, None, metric.kind.metric_type())?;
            for row in rows {
                let Some(value) = (metric.value)(row) else { continue };
                let labels = Labels(row);
                match metric.kind {
                    Kind::Info => family.encode_info(&labels)?,
                    // Braces around nothing are no mistake, but ugly.
                    _ if T::LABELS.is_empty() => sample(&mut family, metric.kind, value)?,
                    _ => sample(&mut family.encode_family(&labels)?, metric.kind, value)?,
                }
            }
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: Option<Distribution<'_>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        match read {
            Some((sum, count, buckets)) => family.encode_histogram::<NoLabelSet>(sum, count, buckets, None),
            None => Ok(()),
        }
    }
}

fn sample(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, Value, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

/// Lists what there is.
pub(super) struct Catalogue(pub(super) Vec<Described>);

impl Visitor for Catalogue {
    fn table<T: Row>(&mut self, metrics: &'static [Metric<T>], _rows: &[T]) -> fmt::Result {
        self.0.extend(
            metrics.iter().map(|metric| Described::new(metric.name, metric.kind, T::LABELS, metric.help)),
        );
        Ok(())
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        _read: Option<Distribution<'_>>,
    ) -> fmt::Result {
        self.0.push(Described::new(name, Kind::Histogram, &[], help));
        Ok(())
    }
}
