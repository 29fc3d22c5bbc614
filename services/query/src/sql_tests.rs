use super::*;
use jiff::tz::TimeZone;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339("ts", text).unwrap()
}

fn selection(devices: &[&str], metrics: &[&str]) -> Selection {
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Selection { site: "s1".into(), devices: owned(devices), metrics: owned(metrics) }
}

fn window(grain: Grain) -> Window {
    let (start, end) = (at("2026-01-01T00:00:00Z"), at("2026-01-05T00:00:00Z"));
    Window::select(grain, start, end, &TimeZone::get("Asia/Tokyo").unwrap()).unwrap()
}

fn statements() -> Vec<(String, Statement)> {
    let start = at("2026-01-01T00:00:00Z");
    let dirty = [at("2026-01-02T01:15:00Z"), at("2026-01-03T20:00:00Z")];
    let mut all = vec![
        ("newest".to_owned(), newest("s1")),
        ("last reading".to_owned(), last_reading("s1", start)),
        ("last arrival".to_owned(), last_arrival("s1", start, start.plus_ms(1))),
        ("present".to_owned(), present("s1", start, start, start)),
        ("series".to_owned(), series_since("s1", 20_000)),
    ];
    for (devices, metrics) in [
        (&[][..], &[][..]),
        (&["inv1"][..], &[][..]),
        (&[][..], &["ac_power"][..]),
        (&["inv1", "inv2"][..], &["ac_power"][..]),
    ] {
        let of = selection(devices, metrics);
        let name = format!("{devices:?} {metrics:?}");
        all.push((format!("raw {name}"), raw(&of, start, start.plus_ms(1), 10)));
        for grain in [Grain::FifteenMinutes, Grain::Hour, Grain::Day] {
            let window = window(grain);
            for spans in [Vec::new(), window.spans(&dirty)] {
                let name = format!("{grain:?} {name} {} spans", spans.len());
                let points = points(&of, &window, &spans, Aggregate::Avg, 10);
                all.push((format!("points {name}"), points));
            }
            all.push((format!("count {grain:?} {name}"), count(&of, &window, 10)));
            all.push((format!("dirty {grain:?}"), super::dirty("s1", &window)));
        }
    }
    all
}

/// The names in `{name:Type}` of a text.
fn placeholders(text: &str) -> Vec<String> {
    let names = text.split('{').skip(1).filter_map(|rest| rest.split_once(':'));
    let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn every_placeholder_is_bound_and_everything_bound_has_a_placeholder() {
    for (name, statement) in statements() {
        let mut bound: Vec<String> = statement.params.iter().map(|(n, _)| n.clone()).collect();
        bound.sort_unstable();
        assert_eq!(placeholders(&statement.text), bound, "{name}: {}", statement.text);
    }
}

#[test]
fn nothing_from_outside_stands_in_the_text() {
    let evil = "x'); DROP TABLE readings; --";
    let of =
        Selection { site: evil.into(), devices: vec![evil.into()], metrics: vec![evil.into()] };
    let start = at("2026-01-01T00:00:00Z");
    let window = window(Grain::Day);
    let spans = window.spans(&[at("2026-01-02T01:15:00Z")]);
    for statement in [
        raw(&of, start, start.plus_ms(1), 10),
        points(&of, &window, &spans, Aggregate::Max, 10),
        count(&of, &window, 10),
        dirty(evil, &window),
        newest(evil),
        last_reading(evil, start),
        last_arrival(evil, start, start),
        present(evil, start, start, start),
        series_since(evil, 1),
    ] {
        assert!(!statement.text.contains("DROP"), "{}", statement.text);
        assert!(statement.params.iter().any(|(_, p)| format!("{p:?}").contains("DROP")));
    }
}

#[test]
fn reads_resolve_versions_and_have_an_order() {
    for (name, Statement { text, .. }) in statements() {
        let from_table = text.matches("FROM readings").count() + text.matches("FROM dirty").count();
        let resolved = text.matches(" FINAL").count();
        // A reading that was replaced arrived too.
        let want = if name == "last arrival" { 0 } else { from_table };
        assert_eq!(resolved, want, "{name}: {text}");
        let one_row = ["count ", "newest", "last arrival"].iter().any(|n| name.starts_with(n));
        assert_eq!(text.contains("ORDER BY"), !one_row, "{name}: {text}");
    }
}

#[test]
fn a_window_without_dirty_buckets_reads_its_rollup_alone() {
    let of = selection(&["inv1"], &[]);
    let got = points(&of, &window(Grain::Hour), &[], Aggregate::Avg, 10);
    assert_eq!(
        got.text,
        "SELECT device, metric, at, total / n AS value FROM (\
         SELECT device, metric, toInt64(toUnixTimestamp(bucket)) AS at, count AS n, \
         sum AS total, min AS low, max AS high, first AS head, last AS tail \
         FROM readings_1h FINAL \
         WHERE site_id = {site:String} AND device IN {devices:Array(String)} \
         AND bucket >= toDateTime({from:Int64}, 'UTC') AND bucket < toDateTime({to:Int64}, 'UTC') \
         AND count > 0) ORDER BY device, metric, at LIMIT {limit:UInt64}"
    );
    let (from, to) = (1_767_225_600, 1_767_571_200);
    assert_eq!(
        got.params,
        [
            ("site".to_owned(), Param::Text("s1".into())),
            ("devices".to_owned(), Param::Texts(vec!["inv1".into()])),
            ("from".to_owned(), Param::Int(from)),
            ("to".to_owned(), Param::Int(to)),
            ("limit".to_owned(), Param::Int(10)),
        ]
    );
}

#[test]
fn a_dirty_bucket_is_left_out_of_the_rollup_and_taken_from_raw_in_the_same_bounds() {
    let of = selection(&[], &[]);
    let window = window(Grain::Day);
    let spans = window.spans(&[at("2026-01-02T01:15:00Z")]);
    let got = points(&of, &window, &spans, Aggregate::Avg, 10);
    for words in [
        "AND NOT ((bucket >= toDate({from0:UInt16}) AND bucket < toDate({to0:UInt16})))",
        "AND quality != 'bad' AND ((ts >= fromUnixTimestamp64Milli({from0_ms:Int64}, 'UTC') \
         AND ts < fromUnixTimestamp64Milli({to0_ms:Int64}, 'UTC')))",
    ] {
        assert!(got.text.contains(words), "{words}\n{}", got.text);
    }
    let bound =
        |name: &str| got.params.iter().find(|(n, _)| n == name).map(|(_, p)| p.clone()).unwrap();
    // 2026-01-02 in Tokyo.
    assert_eq!(bound("from0"), Param::Int(20_455));
    assert_eq!(bound("to0"), Param::Int(20_456));
    assert_eq!(bound("from0_ms"), Param::Int(at("2026-01-01T15:00:00Z").as_ms()));
    assert_eq!(bound("to0_ms"), Param::Int(at("2026-01-02T15:00:00Z").as_ms()));
    assert_eq!(bound("day_numbers"), Param::Ints(vec![20_455]));
}

#[test]
fn an_aggregate_is_a_column_of_the_rollup() {
    let rows = [
        (Aggregate::Avg, "total / n AS value"),
        (Aggregate::Min, "low AS value"),
        (Aggregate::Max, "high AS value"),
        (Aggregate::Sum, "total AS value"),
        (Aggregate::Count, "toFloat64(n) AS value"),
        (Aggregate::First, "head AS value"),
        (Aggregate::Last, "tail AS value"),
    ];
    for (aggregate, want) in rows {
        let got = points(&selection(&[], &[]), &window(Grain::Hour), &[], aggregate, 10);
        assert!(got.text.contains(want), "{aggregate:?}: {}", got.text);
    }
}
