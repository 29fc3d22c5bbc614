use super::*;
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;
/// 2026-01-01T00:00 in Tokyo.
const START_MS: i64 = 1_767_193_200_000;
const STYLE: Style = Style { columns: 60, rows: 5, is_unicode: true, is_coloured: false };

fn point(hour: f64, value: f64) -> Point {
    Point { ts_ms: START_MS + (hour * HOUR_MS as f64) as i64, value, is_bad: false }
}

fn bad(hour: f64, value: f64) -> Point {
    Point { is_bad: true, ..point(hour, value) }
}

fn hourly(hours: std::ops::Range<i32>, value: impl Fn(f64) -> f64) -> Vec<Point> {
    hours.map(f64::from).map(|hour| point(hour, value(hour))).collect()
}

/// A clear day.
fn sun(hour: f64) -> f64 {
    (50_000.0 * ((hour - 6.0) / 12.0 * std::f64::consts::PI).sin()).max(0.0)
}

/// Tokyo from midnight on.
fn hours(hours: i64, points: &[Point], step_ms: Option<i64>, style: Style) -> Vec<String> {
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let (start_ms, end_ms) = (START_MS, START_MS + hours * HOUR_MS);
    let interval_ms = HOUR_MS;
    draw(&Chart { points, step_ms, interval_ms, start_ms, end_ms, unit: "W", zone: &zone }, style)
}

fn day(points: &[Point], step_ms: Option<i64>) -> String {
    hours(24, points, step_ms, STYLE).join("\n")
}

#[test]
fn drawings_are_as_they_were_found_good() {
    let clear = hourly(0..24, sun);
    let away = |p: &&Point| !(10..14).contains(&((p.ts_ms - START_MS) / HOUR_MS));
    let gap: Vec<Point> = clear.iter().filter(away).copied().collect();
    let lost = [point(9.0, 10.0), point(10.0, 12.0), bad(11.0, 65_535.0), point(12.0, 13.0)];
    let ascii = Style { is_unicode: false, ..STYLE };
    let rows = [
        ("readings are joined", day(&clear, None)),
        ("a step's value stands for the whole step", day(&clear, Some(HOUR_MS))),
        ("nothing crosses a gap", day(&gap, None)),
        ("a gap of steps is just as wide", day(&gap, Some(HOUR_MS))),
        ("one point", day(&[point(12.0, 5.0)], None)),
        (
            "two points of which no one knows what lies between",
            day(&[point(6.0, 1.0), point(18.0, 3.0)], None),
        ),
        ("a constant has zero in sight", day(&hourly(0..24, |_| 230.0), None)),
        ("below zero", day(&hourly(0..24, |h| 1.0 - sun(h) / 10_000.0), None)),
        ("a bad point is a mark, is not joined, does not stretch", day(&lost, None)),
        ("nothing but bad points", day(&[bad(3.0, 1.0), bad(5.0, 2.0)], None)),
        ("the largest range", day(&[point(9.0, f64::MIN), point(10.0, f64::MAX)], None)),
        (
            "a small range far from zero",
            day(&hourly(0..24, |h| 1_000_000.0 + h / 1_000.0), Some(HOUR_MS)),
        ),
        (
            "ASCII",
            hours(24, &[clear.as_slice(), &[bad(23.0, 9e9)]].concat(), None, ascii).join("\n"),
        ),
        (
            "the date stands where it changes",
            hours(48, &hourly(0..48, |h| h), None, STYLE).join("\n"),
        ),
    ];
    let got: String =
        rows.into_iter().map(|(name, drawing)| format!("{name}:\n{drawing}\n\n")).collect();
    assert_eq!(got, GOLDEN, "got\n{got}");
}

const GOLDEN: &str = "\
readings are joined:
50,000 W ┤                    ⢀⡠⠔⠒⠉⠉⠒⠢⢄⡀
         │                  ⡠⠒⠁        ⠈⠒⢄
25,000 W ┤                ⡠⠊              ⠑⢄
         │              ⡠⠊                  ⠑⢄
     0 W ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⠜                      ⠑⢄⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
         └┬───────────┬────────────┬───────────┬────────────
          00:00       06:00        12:00       18:00
          2026-01-01

a step's value stands for the whole step:
50,000 W ┤                    ⢀⣀⡰⠒⠒⠉⠉⠒⠒⣄⣀
         │                  ⢠⠤⠎         ⠈⠦⢤
25,000 W ┤                ⢠⠤⠎              ⠧⢤
         │              ⢠⠤⠎                  ⠧⠤⡄
     0 W ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⡎                      ⢱⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
         └┬───────────┬────────────┬───────────┬────────────
          00:00       06:00        12:00       18:00
          2026-01-01

nothing crosses a gap:
50,000 W ┤                             ⡀
         │                  ⡠          ⠈⠒⢄
25,000 W ┤                ⡠⠊              ⠑⢄
         │              ⡠⠊                  ⠑⢄
     0 W ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⠜                      ⠑⢄⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
         └┬───────────┬────────────┬───────────┬────────────
          00:00       06:00        12:00       18:00
          2026-01-01

a gap of steps is just as wide:
50,000 W ┤                             ⣀⣀
         │                  ⢠⠤⠄         ⠈⠦⢤
25,000 W ┤                ⢠⠤⠎              ⠧⢤
         │              ⢠⠤⠎                  ⠧⠤⡄
     0 W ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⡎                      ⢱⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
         └┬───────────┬────────────┬───────────┬────────────
          00:00       06:00        12:00       18:00
          2026-01-01

one point:
10 W ┤
     │
 5 W ┤                           •
     │
 0 W ┤
     └┬────────────┬─────────────┬────────────┬─────────────
      00:00        06:00         12:00        18:00
      2026-01-01

two points of which no one knows what lies between:
3 W ┤                                         •
    │
2 W ┤
    │
1 W ┤             •
    └┬────────────┬─────────────┬─────────────┬─────────────
     00:00        06:00         12:00         18:00
     2026-01-01

a constant has zero in sight:
500 W ┤
      │
250 W ┤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤
      │
  0 W ┤
      └┬────────────┬────────────┬────────────┬─────────────
       00:00        06:00        12:00        18:00
       2026-01-01

below zero:
 0 W ┤⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠢⡀                      ⢀⠤⠊⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
     │               ⠈⠢⢄                  ⢀⠔⠁
     │                  ⠑⠤⡀            ⢀⠤⠒⠁
     │                    ⠈⠑⠢⢄⣀⣀  ⢀⣀⡠⠤⠒⠁
-5 W ┤                          ⠉⠉⠁
     └┬────────────┬─────────────┬────────────┬─────────────
      00:00        06:00         12:00        18:00
      2026-01-01

a bad point is a mark, is not joined, does not stretch:
14 W ┤                        ×
     │                           •
12 W ┤                      ⡰
     │                     ⡰⠁
10 W ┤                    ⡰⠁
     └┬────────────┬─────────────┬────────────┬─────────────
      00:00        06:00         12:00        18:00
      2026-01-01

nothing but bad points:
2.0 W ┤           ×
      │
1.5 W ┤
      │
1.0 W ┤      ×
      └┬────────────┬────────────┬────────────┬─────────────
       00:00        06:00        12:00        18:00
       2026-01-01

the largest range:
 1e300 W ┤                    ⡸
         │                    ⡇
     0 W ┤                   ⢸
         │                   ⡇
-1e300 W ┤                  ⢰⠁
         └┬───────────┬────────────┬───────────┬────────────
          00:00       06:00        12:00       18:00
          2026-01-01

a small range far from zero:
1,000,000.02 W ┤                                  ⢀⣀⡠⠤⠤⠤⠒⠒⠉⠉
               │                         ⢀⣀⣀⣀⠤⠤⠒⠒⠉⠁
               │                  ⣀⣀⠤⠤⠒⠊⠉⠁
               │         ⣀⣀⠤⠔⠒⠊⠉⠉⠉
1,000,000.00 W ┤⣀⡠⠤⠔⠒⠒⠒⠉⠉
               └┬──────────┬──────────┬──────────┬──────────
                00:00      06:00      12:00      18:00
                2026-01-01

ASCII:
50,000 W +                    ..''''''..                 x
         |                  .'          '.
25,000 W +                .'              '.
         |              .'                  '.
     0 W +.............'                      '...........
         ++-----------+------------+-----------+------------
          00:00       06:00        12:00       18:00
          2026-01-01

the date stands where it changes:
50 W ┤                                              ⣀⣀⣀⠤⠤⠤⠔
     │                                  ⢀⣀⣀⠤⠤⠤⠒⠒⠒⠊⠉⠉
25 W ┤                      ⣀⣀⣀⡠⠤⠤⠒⠒⠒⠉⠉⠉⠁
     │           ⣀⣀⠤⠤⠤⠔⠒⠒⠒⠉⠉
 0 W ┤⣀⣀⠤⠤⠒⠒⠒⠊⠉⠉⠉
     └┬────────────┬─────────────┬────────────┬─────────────
      00:00        12:00         00:00        12:00
      2026-01-01                 2026-01-02

";

#[test]
fn nothing_draws_nothing() {
    assert_eq!(day(&[], None), "");
    assert_eq!(day(&[point(1.0, f64::NAN), point(2.0, f64::INFINITY)], None), "");
}

#[test]
fn colour_changes_no_character() {
    let points = [point(9.0, 10.0), point(10.0, 12.0), bad(11.0, 12.0), point(12.0, 13.0)];
    let plain = hours(24, &points, None, STYLE).join("\n");
    let coloured = hours(24, &points, None, Style { is_coloured: true, ..STYLE }).join("\n");
    assert!(coloured.contains("\x1b[31m×\x1b[0m"), "{coloured:?}");
    let bare = ["31", "36", "0"]
        .iter()
        .fold(coloured, |text, sgr| text.replace(&format!("\x1b[{sgr}m"), ""));
    assert_eq!(bare, plain);
}

/// Values of every size, and those that differ by little.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -1e3..1e3, (0..3_i32).prop_map(f64::from), 1e15..1.000_000_1e15]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), START_MS..START_MS + 24 * HOUR_MS]
}

proptest! {
    #[test]
    fn whatever_the_values_it_has_the_size_that_was_asked_for(
        points in prop::collection::vec((time(), value(), any::<bool>()), 0..50),
        range in (time(), time()),
        step_ms in prop::option::of(prop_oneof![Just(900_000), 1..i64::MAX]),
        interval_ms in any::<u32>(),
        columns in 0..500_usize,
        rows in 0..60_usize,
        is_unicode: bool,
        unit in prop_oneof!["", "W/m²", ".{0,80}"],
    ) {
        let points: Vec<Point> =
            points.into_iter().map(|(ts_ms, value, is_bad)| Point { ts_ms, value, is_bad }).collect();
        let zone = TimeZone::get("America/Denver").unwrap();
        let chart = Chart {
            points: &points,
            step_ms,
            interval_ms: i64::from(interval_ms),
            start_ms: range.0,
            end_ms: range.1,
            unit: &unit,
            zone: &zone,
        };
        let lines = draw(&chart, Style { columns, rows, is_unicode, is_coloured: false });
        if points.iter().any(|p| p.value.is_finite()) {
            let (columns, rows) = (columns.clamp(40, 400), rows.clamp(3, 50));
            prop_assert_eq!(lines.len(), rows + ROWS_BELOW);
            let widths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
            prop_assert!(widths.iter().all(|w| *w <= columns), "{:?}", widths);
            prop_assert_eq!(widths[rows], columns, "the axis");
        } else {
            prop_assert!(lines.is_empty());
        }
    }
}
