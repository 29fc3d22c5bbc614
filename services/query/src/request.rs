//! What a `QueryReadings` request asks for, checked.
//!
//! Pure. Invariant: behind [`check`] every name has its form, the range is bounded and lies where
//! the store's types reach, and step and aggregate go together. All broken rules are told at once.

use crate::{config::QueryConfig, window::Grain};
use heliograph_contract::v1;
use heliograph_domain::{DeviceId, MetricName, SiteId, Timestamp, Violation};

/// ClickHouse's `DateTime` begins at 1970 and ends in 2106.
const START_MS_MIN: i64 = 0;
const END_MS_MAX: i64 = 4_102_444_800_000; // 2100-01-01T00:00:00Z
const DAY_MS: i64 = 86_400_000;

/// How long a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Raw,
    Buckets(Grain),
}

impl Step {
    pub const FINEST_FIRST: [Self; 4] = [
        Self::Raw,
        Self::Buckets(Grain::FifteenMinutes),
        Self::Buckets(Grain::Hour),
        Self::Buckets(Grain::Day),
    ];

    pub const fn to_wire(self) -> v1::Step {
        match self {
            Self::Raw => v1::Step::Raw,
            Self::Buckets(Grain::FifteenMinutes) => v1::Step::Step15Min,
            Self::Buckets(Grain::Hour) => v1::Step::Hour,
            Self::Buckets(Grain::Day) => v1::Step::Day,
        }
    }
}

/// What stands for the readings of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
}

/// Whose readings: a site, and which of its devices and metrics; an empty list is all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub site: String,
    pub devices: Vec<String>,
    pub metrics: Vec<String>,
}

/// A sound request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub selection: Selection,
    pub start: Timestamp,
    pub end: Timestamp,
    /// The steps that will do, the finest first; one, when the caller named it.
    pub steps: Vec<Step>,
    /// For a step of buckets.
    pub aggregate: Aggregate,
}

/// Checks a request.
///
/// # Errors
/// One [`Violation`] for each broken rule.
pub fn check(
    request: &v1::QueryReadingsRequest,
    config: &QueryConfig,
) -> Result<Ask, Vec<Violation>> {
    let mut violations = Vec::new();
    let site = SiteId::parse(&request.site_id);
    violations.extend(site.err().map(|v| Violation { field: "site_id".into(), ..v }));
    check_names(&mut violations, "devices", &request.devices, config, |name| {
        DeviceId::parse(name).err()
    });
    check_names(&mut violations, "metrics", &request.metrics, config, |name| {
        MetricName::parse(name).err()
    });
    check_range(&mut violations, request, config);
    let steps = steps(request).map_err(|v| violations.push(v)).unwrap_or_default();
    let aggregate = aggregate(request).map_err(|v| violations.push(v)).unwrap_or(Aggregate::Avg);
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(Ask {
        selection: Selection {
            site: request.site_id.clone(),
            devices: request.devices.clone(),
            metrics: request.metrics.clone(),
        },
        start: Timestamp::from_ms(request.start_ms),
        end: Timestamp::from_ms(request.end_ms),
        steps,
        aggregate,
    })
}

fn check_names(
    violations: &mut Vec<Violation>,
    field: &str,
    names: &[String],
    config: &QueryConfig,
    check: impl Fn(&str) -> Option<Violation>,
) {
    let names_max = config.series_max as usize;
    if names.len() > names_max {
        let got = format_args!("{} names", names.len());
        violations.push(Violation::new(field, got, format!("at most {names_max}")));
        return;
    }
    let wrong = |(at, name): (usize, &String)| {
        check(name).map(|v| Violation { field: format!("{field}[{at}]"), ..v })
    };
    // One is enough to mend the list by, and the answer stays small.
    violations.extend(names.iter().enumerate().find_map(wrong));
}

fn check_range(
    violations: &mut Vec<Violation>,
    request: &v1::QueryReadingsRequest,
    config: &QueryConfig,
) {
    let (start, end) = (request.start_ms, request.end_ms);
    if start < START_MS_MIN {
        violations.push(Violation::new("start_ms", start, "1970-01-01 or later, in ms"));
        return;
    }
    if end > END_MS_MAX {
        let want = format!("at most {END_MS_MAX}, which is 2100-01-01, in ms");
        violations.push(Violation::new("end_ms", end, want));
        return;
    }
    if end <= start {
        violations.push(Violation::new("end_ms", end, format!("more than start_ms, {start}")));
        return;
    }
    let days_max = i64::from(config.range_days_max);
    if end - start > days_max * DAY_MS {
        let got = format_args!("{} days after start_ms", (end - start) / DAY_MS);
        violations.push(Violation::new("end_ms", got, format!("at most {days_max} days")));
    }
}

fn steps(request: &v1::QueryReadingsRequest) -> Result<Vec<Step>, Violation> {
    let aggregated = request.aggregate != v1::Aggregate::Unspecified as i32;
    let [raw, buckets @ ..] = Step::FINEST_FIRST;
    let one = |grain| Ok(vec![Step::Buckets(grain)]);
    match v1::Step::try_from(request.step) {
        Ok(v1::Step::Raw) if aggregated => {
            let got = "STEP_RAW with an aggregate";
            let want = "no aggregate, since each reading stands for itself, or a longer step";
            Err(Violation::new("step", got, want))
        }
        Ok(v1::Step::Raw) => Ok(vec![raw]),
        Ok(v1::Step::Step15Min) => one(Grain::FifteenMinutes),
        Ok(v1::Step::Hour) => one(Grain::Hour),
        Ok(v1::Step::Day) => one(Grain::Day),
        // An aggregate of single readings would be none.
        Ok(v1::Step::Unspecified) if aggregated => Ok(buckets.to_vec()),
        Ok(v1::Step::Unspecified) => Ok(Step::FINEST_FIRST.to_vec()),
        Err(_) => Err(Violation::new("step", request.step, "a Step")),
    }
}

fn aggregate(request: &v1::QueryReadingsRequest) -> Result<Aggregate, Violation> {
    Ok(match v1::Aggregate::try_from(request.aggregate) {
        Ok(v1::Aggregate::Unspecified | v1::Aggregate::Avg) => Aggregate::Avg,
        Ok(v1::Aggregate::Min) => Aggregate::Min,
        Ok(v1::Aggregate::Max) => Aggregate::Max,
        Ok(v1::Aggregate::Sum) => Aggregate::Sum,
        Ok(v1::Aggregate::Count) => Aggregate::Count,
        Ok(v1::Aggregate::First) => Aggregate::First,
        Ok(v1::Aggregate::Last) => Aggregate::Last,
        Err(_) => {
            return Err(Violation::new("aggregate", request.aggregate, "an Aggregate"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::QueryReadingsRequest {
        v1::QueryReadingsRequest {
            site_id: "s1".into(),
            start_ms: 1_700_000_000_000,
            end_ms: 1_700_086_400_000,
            ..Default::default()
        }
    }

    #[test]
    fn a_broken_rule_names_its_field() {
        type Change = fn(&mut v1::QueryReadingsRequest);
        let rows: &[(&str, Change, &[&str])] = &[
            ("a sound request", |_| {}, &[]),
            ("no site", |r| r.site_id.clear(), &["site_id"]),
            ("a site of another form", |r| r.site_id = "a b".into(), &["site_id"]),
            (
                "a device of another form",
                |r| r.devices = vec!["inv1".into(), "a b".into()],
                &["devices[1]"],
            ),
            ("an empty metric", |r| r.metrics = vec![String::new()], &["metrics[0]"]),
            ("too many devices", |r| r.devices = vec!["inv1".into(); 2_001], &["devices"]),
            ("an empty range", |r| r.end_ms = r.start_ms, &["end_ms"]),
            ("a range backwards", |r| r.end_ms = r.start_ms - 1, &["end_ms"]),
            ("before 1970", |r| r.start_ms = -1, &["start_ms"]),
            ("the far future", |r| r.end_ms = i64::MAX, &["end_ms"]),
            ("a range of a lifetime", |r| r.start_ms = 0, &["end_ms"]),
            ("an unknown step", |r| r.step = 99, &["step"]),
            ("an unknown aggregate", |r| r.aggregate = 99, &["aggregate"]),
            (
                "raw readings have no aggregate",
                |r| (r.step, r.aggregate) = (v1::Step::Raw.into(), v1::Aggregate::Min.into()),
                &["step"],
            ),
            (
                "everything at once",
                |r| (r.site_id, r.end_ms, r.step) = (String::new(), 0, 99),
                &["site_id", "end_ms", "step"],
            ),
        ];
        for (name, change, want) in rows {
            let mut request = good();
            change(&mut request);
            let got = check(&request, &QueryConfig::default()).err().unwrap_or_default();
            let fields: Vec<&str> = got.iter().map(|v| v.field.as_str()).collect();
            assert_eq!(fields, *want, "{name}");
        }
    }

    #[test]
    fn the_steps_that_will_do_come_finest_first() {
        use Grain::{Day, FifteenMinutes, Hour};
        use v1::{Aggregate as A, Step as S};
        let buckets = [FifteenMinutes, Hour, Day].map(Step::Buckets);
        let rows = [
            ("nothing said", S::Unspecified, A::Unspecified, Step::FINEST_FIRST.to_vec()),
            ("an aggregate needs buckets", S::Unspecified, A::Max, buckets.to_vec()),
            ("raw", S::Raw, A::Unspecified, vec![Step::Raw]),
            ("an hour", S::Hour, A::Unspecified, vec![buckets[1]]),
            ("a day's last", S::Day, A::Last, vec![buckets[2]]),
        ];
        for (name, step, aggregate, want) in rows {
            let request = v1::QueryReadingsRequest {
                step: step.into(),
                aggregate: aggregate.into(),
                ..good()
            };
            assert_eq!(check(&request, &QueryConfig::default()).unwrap().steps, want, "{name}");
        }
    }
}
