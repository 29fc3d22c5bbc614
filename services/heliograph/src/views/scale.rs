//! The axes of a chart: which round values and times get a label, and where.
//!
//! Pure. Labels of values carry just the digits that tell them apart; labels of times are of the
//! site's own clock, with the date where it changes.

use jiff::{ToSpan, Unit, civil, tz::TimeZone};

/// What is larger is drawn as this: so that no difference overflows.
const VALUE_MAX: f64 = 1e300;
/// What is smaller is drawn as zero: so that its fractions do not underflow.
const VALUE_MIN: f64 = 1e-280;
/// Of a step; lest 3.0000000000000004 steps take a fourth.
const ROUNDING: f64 = 1e-9;
/// A smaller range, relative to the values, is rounding: the values are drawn as equal.
const RANGE_MIN: f64 = 1e-12;
/// Of a step; see [`ValueAxis::between`].
const FAR_STEPS: f64 = 0.5;
/// From here on numbers are written with an exponent.
const PLAIN_MAX: f64 = 1e9;
const PLAIN_MIN: f64 = 1e-6;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// From `low` to `high`, with labels at round values: `first` and the `steps` after it, in units of
/// `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueAxis {
    low: f64,
    high: f64,
    first: f64,
    step: f64,
    steps: usize,
}

impl ValueAxis {
    /// At most `steps_max` (at least two) steps around all of `min` to `max`.
    pub fn around(min: f64, max: f64, steps_max: usize) -> Self {
        let (mut min, mut max) = (tame(min), tame(max));
        let magnitude = min.abs().max(max.abs());
        if max - min <= magnitude * RANGE_MIN {
            // A constant lies in the middle, with zero in sight.
            (min, max) = match min {
                0.0 => (-1.0, 1.0),
                v if v > 0.0 => (0.0, 2.0 * v),
                v => (2.0 * v, 0.0),
            };
        }
        let steps_max = steps_max.max(2) as f64;
        let mut decade = 10_f64.powf(((max - min) / steps_max).log10().floor());
        loop {
            for nice in [1.0, 2.0, 2.5, 5.0] {
                let step = decade * nice;
                let (first, last) =
                    ((min / step + ROUNDING).floor(), (max / step - ROUNDING).ceil());
                if last - first <= steps_max {
                    return Self::between((min, max), (first, last.max(first + 1.0)), step);
                }
            }
            decade *= 10.0;
        }
    }

    /// An end whose label lies farther than half a step from all values would be an empty row: the
    /// axis then ends where the values do.
    fn between((min, max): (f64, f64), (first, last): (f64, f64), step: f64) -> Self {
        let (is_low_far, is_high_far) =
            (min / step - first > FAR_STEPS, last - max / step > FAR_STEPS);
        let steps = (last - first) as usize - usize::from(is_low_far) - usize::from(is_high_far);
        Self {
            low: if is_low_far { min } else { first * step },
            high: if is_high_far { max } else { last * step },
            first: first + f64::from(u8::from(is_low_far)),
            step,
            steps,
        }
    }

    /// Where a value lies: 0 at the bottom, 1 at the top; outside of it the nearer end.
    pub fn place(&self, value: f64) -> f64 {
        ((tame(value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The labels and their places, from the bottom up; at least one.
    pub fn labels(&self) -> Vec<(f64, String)> {
        let value = |i: usize| (self.first + i as f64) * self.step;
        let magnitude = value(0).abs().max(value(self.steps).abs());
        // Of 0.25 the 5 is told too.
        let finest = (self.step.log10() + ROUNDING).floor() as i32;
        let scaled = self.step / 10_f64.powi(finest);
        let finest = finest - i32::from((scaled - 2.5).abs() < 0.1);
        let label = |i| match value(i) {
            0.0 => "0".to_owned(),
            v if !(PLAIN_MIN..PLAIN_MAX).contains(&magnitude) => {
                let digits = (v.abs().log10().floor() as i32 - finest).clamp(0, 15) as usize;
                format!("{v:.digits$e}")
            }
            v => super::grouped(v, (-finest).clamp(0, 15) as usize),
        };
        (0..=self.steps).map(|i| (self.place(value(i)), label(i))).collect()
    }
}

fn tame(value: f64) -> f64 {
    match value.clamp(-VALUE_MAX, VALUE_MAX) {
        v if v.is_nan() || v.abs() < VALUE_MIN => 0.0,
        v => v,
    }
}

/// A time that gets a label.
#[derive(Debug, PartialEq)]
pub struct Tick {
    pub ts_ms: i64,
    pub label: String,
    /// The date, or the year of a date, where it is another than that of the tick before.
    pub above: Option<String>,
}

/// Columns between two labels of times.
const LABEL_GAP: usize = 2;
/// Distances between labels of times; days are of the calendar.
const TIME_STEPS_MS: [i64; 25] = [
    SECOND_MS,
    2 * SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    30 * SECOND_MS,
    60 * SECOND_MS,
    120 * SECOND_MS,
    300 * SECOND_MS,
    600 * SECOND_MS,
    900 * SECOND_MS,
    1_800 * SECOND_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    5 * DAY_MS,
    10 * DAY_MS,
    30 * DAY_MS,
    90 * DAY_MS,
    365 * DAY_MS,
    1_000 * DAY_MS,
    10_000 * DAY_MS,
];

/// Round times within [`start_ms`, `end_ms`) whose labels stand apart on so many columns; none
/// where there are no such times.
pub fn time_axis(start_ms: i64, end_ms: i64, columns: usize, zone: &TimeZone) -> Vec<Tick> {
    let span = i128::from(end_ms) - i128::from(start_ms);
    let fits = |step: &&i64| {
        let label = if **step < MINUTE_MS { "09:00:00" } else { "09:00" };
        let ticks_max = columns / (label.len() + LABEL_GAP);
        span <= i128::from(**step) * ticks_max as i128
    };
    let Some(&step) = TIME_STEPS_MS.iter().find(fits) else { return Vec::new() };
    let Ok(start) = jiff::Timestamp::from_millisecond(start_ms) else { return Vec::new() };
    let start = start.to_zoned(zone.clone()).datetime();
    let (fine, coarse) = match step {
        DAY_MS.. => ("%m-%d", "%Y"),
        MINUTE_MS..DAY_MS => ("%H:%M", "%Y-%m-%d"),
        _ => ("%H:%M:%S", "%Y-%m-%d"),
    };
    let mut ticks = Vec::new();
    let mut before = None;
    for at in round_times(start, step) {
        let Some(zoned) = at.and_then(|at| at.to_zoned(zone.clone()).ok()) else { break };
        let ts_ms = zoned.timestamp().as_millisecond();
        if ts_ms >= end_ms {
            break;
        }
        // A time that the clock jumped over stands for none.
        if ts_ms < start_ms || Some(zoned.datetime()) != at {
            continue;
        }
        let above = zoned.strftime(coarse).to_string();
        let changed = before.as_ref() != Some(&above);
        before = Some(above.clone());
        let label = zoned.strftime(fine).to_string();
        ticks.push(Tick { ts_ms, label, above: changed.then_some(above) });
    }
    ticks
}

/// Multiples of `step_ms` on the wall clock, from `start` or the one before; `None` ends the
/// calendar.
fn round_times(
    start: civil::DateTime,
    step_ms: i64,
) -> impl Iterator<Item = Option<civil::DateTime>> {
    let epoch = civil::date(1970, 1, 1);
    let days = epoch.until((Unit::Day, start.date())).map_or(0, |span| i64::from(span.get_days()));
    let step_days = (step_ms / DAY_MS).max(1);
    let first = epoch.checked_add((days - days.rem_euclid(step_days)).days());
    let since_midnight_ms = i64::from(start.hour()) * HOUR_MS
        + i64::from(start.minute()) * MINUTE_MS
        + i64::from(start.second()) * SECOND_MS;
    (since_midnight_ms / step_ms..).map(move |i| {
        let first = first.as_ref().ok()?.at(0, 0, 0, 0);
        let span = match step_ms {
            ..DAY_MS => jiff::Span::new().try_milliseconds(i.checked_mul(step_ms)?).ok()?,
            _ => jiff::Span::new().try_days(i.checked_mul(step_days)?).ok()?,
        };
        first.checked_add(span).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_few_round_labels() {
        let rows: [(&str, f64, f64, &[&str]); 13] = [
            ("a plant's day", 0.0, 49_320.0, &["0", "20,000", "40,000"]),
            ("a little below zero at night", -2.1, 714.0, &["0", "250", "500", "750"]),
            ("a grid's voltage", 229.1, 232.8, &["229", "230", "231", "232", "233"]),
            ("both sides of zero", -3.2, 11.9, &["-5", "0", "5", "10"]),
            ("all below", -11.0, -9.2, &["-11.0", "-10.5", "-10.0", "-9.5", "-9.0"]),
            ("a constant", 5.0, 5.0, &["0", "2.5", "5.0", "7.5", "10.0"]),
            ("a negative constant", -20.0, -20.0, &["-40", "-30", "-20", "-10", "0"]),
            ("always zero", 0.0, 0.0, &["-1.0", "-0.5", "0", "0.5", "1.0"]),
            ("a share", 0.0, 1.0, &["0", "0.25", "0.50", "0.75", "1.00"]),
            ("small", 0.0012, 0.0031, &["0.001", "0.002", "0.003"]),
            ("tiny", 0.0, 3e-9, &["0", "1e-9", "2e-9", "3e-9"]),
            (
                "a counter",
                1.0e12,
                1.0e12 + 4.0,
                &[
                    "1.000000000000e12",
                    "1.000000000001e12",
                    "1.000000000002e12",
                    "1.000000000003e12",
                    "1.000000000004e12",
                ],
            ),
            ("the largest", f64::MIN, f64::MAX, &["-1.0e300", "-5e299", "0", "5e299", "1.0e300"]),
        ];
        for (name, min, max, want) in rows {
            let axis = ValueAxis::around(min, max, 4);
            let labels: Vec<String> = axis.labels().into_iter().map(|(_, label)| label).collect();
            assert_eq!(labels, want, "{name}");
            assert!(axis.place(min) <= axis.place(max), "{name}");
        }
    }

    fn ticks(zone: &str, start: &str, end: &str, most: usize) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let ms = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let words = |t: Tick| match t.above {
            Some(above) => format!("{above}|{}", t.label),
            None => t.label,
        };
        let ticks = time_axis(ms(start), ms(end), most, &zone).into_iter().map(words);
        ticks.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn times_are_round_on_the_sites_own_clock() {
        let rows = [
            (
                "the date stands where it changes",
                ticks("Asia/Tokyo", "2026-01-01T06:10:00Z", "2026-01-02T06:10:00Z", 56),
                "2026-01-01|18:00 21:00 2026-01-02|00:00 03:00 06:00 09:00 12:00 15:00",
            ),
            (
                "an hour that the clock jumps over has no label",
                ticks("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z", 40),
                "2026-03-29|00:00 01:00 03:00 04:00 05:00",
            ),
            (
                "days",
                ticks("UTC", "2025-12-30T12:00:00Z", "2026-01-03T00:00:00Z", 40),
                "2025|12-31 2026|01-01 01-02",
            ),
            (
                "seconds",
                ticks("UTC", "2026-01-01T00:00:01Z", "2026-01-01T00:00:05Z", 40),
                "2026-01-01|00:00:01 00:00:02 00:00:03 00:00:04",
            ),
        ];
        for (name, got, want) in rows {
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn times_that_no_calendar_has_get_no_label() {
        assert_eq!(time_axis(i64::MIN, i64::MAX, 90, &TimeZone::UTC), []);
        assert_eq!(time_axis(i64::MAX - 10, i64::MAX, 90, &TimeZone::UTC), []);
    }
}
