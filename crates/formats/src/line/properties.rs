//! What is written is read, and nothing makes it panic.

use super::{
    tests::{MAX, NOW, read},
    *,
};
use proptest::prelude::*;

/// A point as a client would send it, and what is to be read of it.
#[derive(Debug, Clone)]
struct Point {
    device: String,
    by_tag: bool,
    fields: Vec<(String, Kind)>,
    ts_ms: Option<i64>,
}

#[derive(Debug, Clone)]
enum Kind {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
}

impl Point {
    fn line(&self, precision: Precision, noise: &str) -> String {
        let escape = |text: &str| {
            [",", "=", " "].iter().fold(text.to_owned(), |t, c| t.replace(c, &format!("\\{c}")))
        };
        let series = match self.by_tag {
            true => format!("{},device={}", escape(noise), self.device),
            false => format!("{},noise={}", self.device, escape(noise)),
        };
        let field = |(key, value): &(String, Kind)| match value {
            Kind::Float(v) => format!("{key}={v:?}"),
            Kind::Integer(v) => format!("{key}={v}i"),
            Kind::Unsigned(v) => format!("{key}={v}u"),
            Kind::Boolean(v) => format!("{key}={v}"),
        };
        let fields: Vec<_> = self.fields.iter().map(field).collect();
        let (scale, unit) = match precision {
            Precision::Ns => (1_000_000, 1),
            Precision::Us => (1_000, 1),
            Precision::Ms => (1, 1),
            Precision::S => (1, 1_000),
            Precision::M => (1, 60_000),
            Precision::H => (1, 3_600_000),
        };
        let ts = self.ts_ms.map_or_else(String::new, |ms| format!(" {}", ms / unit * scale));
        format!("{series} {}{ts}", fields.join(","))
    }
}

fn precision() -> impl Strategy<Value = Precision> {
    proptest::sample::select(Precision::ALL.to_vec())
}

fn point() -> impl Strategy<Value = Point> {
    let kind = prop_oneof![
        proptest::num::f64::NORMAL.prop_map(Kind::Float),
        any::<i64>().prop_map(Kind::Integer),
        any::<u64>().prop_map(Kind::Unsigned),
        any::<bool>().prop_map(Kind::Boolean),
    ];
    let fields = proptest::collection::btree_map("[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}", kind, 1..5);
    let ts = proptest::option::of(1_500_000_000_000i64..1_767_225_600_000);
    ("[a-zA-Z0-9][a-zA-Z0-9._:/-]{0,8}", any::<bool>(), fields, ts).prop_map(
        |(device, by_tag, fields, ts_ms)| Point {
            device,
            by_tag,
            fields: fields.into_iter().collect(),
            ts_ms,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        points in proptest::collection::vec(point(), 0..8),
        noise in "[a-z ,=\"äß]{1,10}x",
        precision in precision(),
        end in proptest::sample::select(vec!["\n", "\r\n"]),
    ) {
        let lines: Vec<_> = points.iter().map(|p| p.line(precision, &noise)).collect();
        let body = lines.join(end);
        let got = read(body.as_bytes(), precision, MAX).unwrap();
        let unit = match precision {
            Precision::S => 1_000,
            Precision::M => 60_000,
            Precision::H => 3_600_000,
            _ => 1,
        };
        let mut want = std::collections::BTreeMap::new();
        for p in &points {
            for (metric, kind) in &p.fields {
                let value = match kind {
                    Kind::Float(v) => *v,
                    Kind::Integer(v) => *v as f64,
                    Kind::Unsigned(v) => *v as f64,
                    Kind::Boolean(v) => f64::from(u8::from(*v)),
                };
                let ts = p.ts_ms.map_or(NOW.as_ms(), |ms| ms / unit * unit);
                want.insert((p.device.clone(), metric.clone(), ts), value);
            }
        }
        let key = |r: &Reading| {
            ((r.device.to_string(), r.metric.to_string(), r.ts.as_ms()), r.value)
        };
        let readings: std::collections::BTreeMap<_, _> = got.readings.iter().map(key).collect();
        prop_assert_eq!(readings.len(), got.readings.len());
        prop_assert_eq!(readings, want);
    }

    #[test]
    fn nothing_makes_it_panic_and_each_line_is_taken_or_kept(
        bytes in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(b"m, =\"\\\n\r#\t1i.e-ut".to_vec()),
                any::<u8>(),
            ],
            0..200,
        ),
        precision in precision(),
    ) {
        let got = read(&bytes, precision, MAX).unwrap();
        let lines = bytes.split(|b| *b == b'\n').count();
        prop_assert!(got.rejected.windows(2).all(|w| w[0].rejected.index < w[1].rejected.index));
        prop_assert!(got.rejected.iter().all(|r| r.rejected.index < lines));
        prop_assert!(got.sent >= got.rejected.len() + got.readings.len());
        if bytes.iter().any(|b| b.is_ascii_alphanumeric()) && !bytes.contains(&b'#') {
            prop_assert!(got.sent > 0);
        }
    }
}
