//! `QueryReadings` against values computed in the test.

use crate::model::{
    self, DAY_MS, HOUR_MS, QUARTER_MS, Row, answered, assert_close, berlin_days, expected, row,
};
use crate::support::{OPERATOR, Query, Stage, database, violated};
use heliograph_contract::v1;
use heliograph_query::QueryConfig;
use tonic::Code;

const SITE: &str = "s1";
/// 2026-03-27T23:00:00Z, midnight in Berlin.
const START_MS: i64 = 1_774_652_400_000;
const AGGREGATES: [v1::Aggregate; 7] = [
    v1::Aggregate::Avg,
    v1::Aggregate::Min,
    v1::Aggregate::Max,
    v1::Aggregate::Sum,
    v1::Aggregate::Count,
    v1::Aggregate::First,
    v1::Aggregate::Last,
];

fn request(step: v1::Step, (start_ms, end_ms): (i64, i64)) -> v1::QueryReadingsRequest {
    v1::QueryReadingsRequest {
        site_id: SITE.into(),
        start_ms,
        end_ms,
        step: step.into(),
        ..Default::default()
    }
}

async fn ask(client: &mut Query, request: v1::QueryReadingsRequest) -> v1::QueryReadingsResponse {
    client.query_readings(request).await.unwrap().into_inner()
}

/// Repeatable chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Four days of four series at five minutes, with gaps, bad and suspect readings.
fn first_uploads(dice: &mut Dice) -> Vec<Row> {
    let mut rows = Vec::new();
    for (device, metric) in
        [("inv1", "ac_power"), ("inv1", "dc_power"), ("inv2", "ac_power"), ("met", "frobs")]
    {
        for slot in 0..4 * 288 {
            let hour = slot / 12 % 24;
            if dice.below(20) == 0 || (device == "met" && hour < 6) {
                continue;
            }
            let quality = match dice.below(25) {
                0 => "bad",
                1 => "suspect",
                _ => "good",
            };
            // Eighths: their decimal text is their value, however it is read.
            let value = dice.below(1_000_000) as f64 / 8.0 - 9_000.0;
            let ts_ms = START_MS + slot * 300_000 + dice.below(1_000) as i64;
            let offset = 10 + slot as u64;
            rows.push(Row { metric, quality, ..row(device, ts_ms, value, offset) });
        }
    }
    rows
}

/// Late, corrected, repeated and newly bad readings; a quarter that is bad alone; a day that did
/// not exist.
fn later_uploads(dice: &mut Dice, first: &[Row]) -> Vec<Row> {
    let mut rows = Vec::new();
    for n in 0..60_u64 {
        let origin = &first[dice.below(first.len() as u64) as usize];
        let offset = 10_000 + n;
        let changed = match n % 4 {
            0 => Row { ts_ms: origin.ts_ms + 7, offset, ..origin.clone() },
            1 => Row { value: origin.value + 1_000.0, offset, ..origin.clone() },
            2 => Row { offset, ..origin.clone() },
            _ => Row { quality: "bad", offset, ..origin.clone() },
        };
        rows.push(changed);
    }
    let emptied = model::quarters(first[100].ts_ms);
    let inside = |row: &&Row| model::quarters(row.ts_ms) == emptied && row.device == "inv1";
    rows.extend(first.iter().filter(inside).map(|r| Row {
        quality: "bad",
        offset: 20_000,
        ..r.clone()
    }));
    rows.push(row("inv9", START_MS + 4 * DAY_MS + HOUR_MS, -0.25, 20_001));
    rows
}

#[tokio::test]
async fn every_step_and_aggregate_is_right_whatever_the_rollups_know() {
    let stage = Stage::start("readings_all").await;
    stage.put_site("t1", SITE, "Europe/Berlin").await;
    let mut client = stage.query(OPERATOR).await;
    let mut dice = Dice(7);
    let first = first_uploads(&mut dice);
    let later = later_uploads(&mut dice, &first);
    let all: Vec<Row> = first.iter().chain(&later).cloned().collect();

    // Nothing rolled up; then all but the later uploads; then everything.
    model::mark(&stage.store, SITE, &first, true).await;
    model::store(&stage.store, SITE, &first).await;
    compare(&mut client, &first, "nothing is rolled up").await;
    model::roll_up(&stage.store, SITE, &first, berlin_days, HOUR_MS).await;
    model::mark(&stage.store, SITE, &first, false).await;
    compare(&mut client, &first, "all is rolled up").await;
    model::mark(&stage.store, SITE, &later, true).await;
    model::store(&stage.store, SITE, &later).await;
    compare(&mut client, &all, "some is dirty").await;
}

async fn compare(client: &mut Query, rows: &[Row], name: &str) {
    let whole = (START_MS, START_MS + 5 * DAY_MS);
    let ragged = (START_MS + 7 * HOUR_MS + 1, START_MS + 2 * DAY_MS + 5 * QUARTER_MS + 1);
    let grains = [
        (v1::Step::Step15Min, model::quarters as model::Cut),
        (v1::Step::Hour, model::hours),
        (v1::Step::Day, berlin_days),
    ];
    for (step, cut) in grains {
        for (range, aggregates) in [(whole, &AGGREGATES[..]), (ragged, &AGGREGATES[..1])] {
            for &aggregate in aggregates {
                let name = format!("{name}: {step:?} {aggregate:?} {range:?}");
                let asked = v1::QueryReadingsRequest {
                    aggregate: aggregate.into(),
                    ..request(step, range)
                };
                let got = ask(client, asked).await;
                assert_eq!(got.step(), step, "{name}");
                let want = expected(rows, cut, aggregate, range);
                assert!(!want.is_empty(), "{name}: a test that compares nothing");
                assert_close(&answered(&got), &want, &name);
                assert!(got.series.iter().all(|s| s.qualities.is_empty()), "{name}");
            }
        }
    }
    compare_raw(client, rows, whole, name).await;
    compare_raw(client, rows, ragged, name).await;
}

async fn compare_raw(client: &mut Query, rows: &[Row], range: (i64, i64), name: &str) {
    let got = ask(client, request(v1::Step::Raw, range)).await;
    let mut flat = Vec::new();
    for series in &got.series {
        for (at, ts_ms) in series.ts_ms.iter().enumerate() {
            let quality = v1::Quality::try_from(series.qualities[at]).unwrap();
            let value = series.values[at];
            flat.push((series.device.clone(), series.metric.clone(), *ts_ms, value, quality));
        }
    }
    let want: Vec<_> = model::resolved(rows)
        .into_iter()
        .filter(|row| (range.0..range.1).contains(&row.ts_ms))
        .map(|row| {
            let quality = match row.quality {
                "bad" => v1::Quality::Bad,
                "suspect" => v1::Quality::Suspect,
                _ => v1::Quality::Good,
            };
            (row.device.to_owned(), row.metric.to_owned(), row.ts_ms, row.value, quality)
        })
        .collect();
    for (got, want) in flat.iter().zip(&want) {
        assert_eq!(got, want, "{name}: raw {range:?}");
    }
    assert_eq!(flat.len(), want.len(), "{name}: raw {range:?}");
}

#[tokio::test]
async fn a_clean_bucket_comes_from_its_rollup_and_a_dirty_one_never() {
    let stage = Stage::start("readings_source").await;
    stage.put_site("t1", SITE, "Asia/Tokyo").await;
    let mut client = stage.query(OPERATOR).await;
    let tokyo_days: model::Cut = |ts| (ts + 9 * HOUR_MS).div_euclid(DAY_MS) * DAY_MS - 9 * HOUR_MS;
    let midnight = 1_767_193_200_000; // 2026-01-01 in Tokyo
    let rows = [row("inv1", midnight, 1.0, 1), row("inv1", midnight + DAY_MS + HOUR_MS, 2.0, 1)];
    // Rollups that say what no reading says: whoever answers with it has read them.
    let told: Vec<Row> = rows.iter().map(|r| Row { value: 777.0, ..r.clone() }).collect();
    model::store(&stage.store, SITE, &rows).await;
    model::roll_up(&stage.store, SITE, &told, tokyo_days, 9 * HOUR_MS).await;
    model::mark(&stage.store, SITE, &rows, true).await;
    model::mark(&stage.store, SITE, &rows[..1], false).await;
    let range = (midnight, midnight + 3 * DAY_MS);
    for step in [v1::Step::Step15Min, v1::Step::Hour, v1::Step::Day] {
        let got = ask(&mut client, request(step, range)).await;
        assert_eq!(got.series[0].values, [777.0, 2.0], "{step:?}");
        assert_eq!(got.series[0].unit, "W");
    }
    // A block that came again marks what was clean, under the version it had: nothing changes.
    model::mark(&stage.store, SITE, &rows[..1], true).await;
    let got = ask(&mut client, request(v1::Step::Hour, range)).await;
    assert_eq!(got.series[0].values, [777.0, 2.0]);
}

#[tokio::test]
async fn only_what_was_asked_for_is_answered() {
    let stage = Stage::start("readings_selected").await;
    stage.put_site("t1", SITE, "UTC").await;
    stage.put_site("t1", "s2", "UTC").await;
    let mut client = stage.query(OPERATOR).await;
    let mut rows = Vec::new();
    for device in ["inv1", "inv2", "inv3"] {
        for metric in ["ac_power", "module_temp"] {
            rows.push(Row { metric, ..row(device, START_MS, 1.0, 1) });
        }
    }
    model::mark(&stage.store, SITE, &rows, true).await;
    model::store(&stage.store, SITE, &rows).await;
    model::store(&stage.store, "s2", &[row("other", START_MS, 1.0, 1)]).await;
    let names = |response: v1::QueryReadingsResponse| -> Vec<String> {
        response.series.into_iter().map(|s| format!("{} {}", s.device, s.metric)).collect()
    };
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    type Names = &'static [&'static str];
    let rows: &[(&str, Names, Names, Names)] = &[
        ("one device", &["inv2"], &[], &["inv2 ac_power", "inv2 module_temp"]),
        (
            "one metric of two",
            &["inv3", "inv1"],
            &["ac_power"],
            &["inv1 ac_power", "inv3 ac_power"],
        ),
        ("a device of another site", &["other"], &[], &[]),
    ];
    for step in [v1::Step::Raw, v1::Step::Hour] {
        for (name, devices, metrics, want) in rows {
            let asked = v1::QueryReadingsRequest {
                devices: owned(devices),
                metrics: owned(metrics),
                ..request(step, (START_MS, START_MS + HOUR_MS))
            };
            assert_eq!(names(ask(&mut client, asked).await), *want, "{name} {step:?}");
        }
    }
    let nothing = ask(&mut client, request(v1::Step::Unspecified, (1, 2))).await;
    assert_eq!((nothing.step(), nothing.series.len()), (v1::Step::Raw, 0));
}

#[tokio::test]
async fn the_finest_step_that_fits_is_chosen_and_a_refusal_names_one() {
    let store = database("readings_fit").await;
    let config = QueryConfig { points_max: 100, series_max: 3, ..Default::default() };
    let stage = Stage::start_with(store, config).await;
    stage.put_site("t1", SITE, "Europe/Berlin").await;
    let mut client = stage.query(OPERATOR).await;
    // Three days, a reading a minute.
    let rows: Vec<Row> =
        (0..3 * 1_440).map(|n| row("inv1", START_MS - DAY_MS + n * 60_000, n as f64, 1)).collect();
    model::store(&stage.store, SITE, &rows).await;
    model::roll_up(&stage.store, SITE, &rows, berlin_days, HOUR_MS).await;
    let first = START_MS - DAY_MS;
    let table = [
        ("100 minutes", first + 100 * 60_000, v1::Step::Raw),
        ("101 minutes", first + 101 * 60_000, v1::Step::Step15Min),
        ("25 hours are 100 quarters", first + 25 * HOUR_MS, v1::Step::Step15Min),
        ("one more", first + 25 * HOUR_MS + 1, v1::Step::Hour),
    ];
    for (name, end, want) in table {
        let got = ask(&mut client, request(v1::Step::Unspecified, (first, end))).await;
        assert_eq!(got.step(), want, "{name}");
    }
    let asked = v1::QueryReadingsRequest {
        aggregate: v1::Aggregate::Max.into(),
        ..request(v1::Step::Unspecified, (first, first + HOUR_MS))
    };
    let got = ask(&mut client, asked).await;
    assert_eq!(got.step(), v1::Step::Step15Min, "an aggregate needs buckets");

    for (step, fits) in [(v1::Step::Raw, "STEP_HOUR"), (v1::Step::Step15Min, "STEP_HOUR")] {
        let asked = request(step, (first, first + 3 * DAY_MS));
        let status = client.query_readings(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(violated(&status), ["step"]);
        assert!(status.message().contains(&format!("want {fits}")), "{status}");
    }

    // Never rolled up and too many: seen while they are read.
    let fresh: Vec<Row> =
        (0..101).map(|n| row("inv1", START_MS + 10 * DAY_MS + n * QUARTER_MS, 1.0, 1)).collect();
    model::mark(&stage.store, SITE, &fresh, true).await;
    model::store(&stage.store, SITE, &fresh).await;
    let range = (START_MS + 10 * DAY_MS, START_MS + 12 * DAY_MS);
    assert_eq!(
        ask(&mut client, request(v1::Step::Unspecified, range)).await.step(),
        v1::Step::Hour
    );

    let many: Vec<Row> =
        ["a", "b", "c", "d"].map(|device| row(device, START_MS - 9 * DAY_MS, 1.0, 1)).to_vec();
    model::store(&stage.store, SITE, &many).await;
    let asked = request(v1::Step::Raw, (START_MS - 9 * DAY_MS, START_MS - 8 * DAY_MS));
    let status = client.query_readings(asked).await.unwrap_err();
    assert_eq!((status.code(), violated(&status)), (Code::InvalidArgument, vec!["devices".into()]));
}

#[tokio::test]
async fn a_request_that_breaks_rules_hears_of_all_of_them() {
    let stage = Stage::start_with(Default::default(), QueryConfig::default()).await;
    let mut client = stage.query(OPERATOR).await;
    let asked = v1::QueryReadingsRequest { site_id: "a b".into(), step: 99, ..Default::default() };
    let status = client.query_readings(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(violated(&status), ["site_id", "end_ms", "step"]);
}
