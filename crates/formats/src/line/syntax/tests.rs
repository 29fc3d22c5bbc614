//! What it costs to read a body, in bytes, and that no byte of it gets lost.

use super::*;
use proptest::prelude::*;

const FIELDS_MAX: usize = 1_000_000;

/// All lines of a body and the bytes read for them; the lines and their ends are the body.
fn scanned(mut scan: Scan<'_>) -> (Vec<Next<'_>>, usize) {
    let body = scan.rest;
    let nexts: Vec<_> = scan.by_ref().collect();
    let mut rest = body;
    for next in &nexts {
        rest = rest.strip_prefix(next.raw()).expect("each line begins behind the one before it");
        rest = match rest {
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => rest,
            [] | b"\r" => &[],
            _ => panic!("{next:?} ends amid a line, before {:?}", String::from_utf8_lossy(rest)),
        };
    }
    assert_eq!(rest, b"", "nothing is left");
    (nexts, scan.read_bytes)
}

fn scan(body: &str) -> Scan<'_> {
    Scan::new(body.as_bytes(), FIELDS_MAX)
}

#[test]
fn no_body_is_read_more_than_four_times() {
    let long = "x".repeat(85);
    let rows: &[(&str, String)] = &[
        ("an open string in every line", format!("a b=1\",c=\"{long}\n").repeat(1_000)),
        ("the same, in short lines", "a b=1\",c=\"\n".repeat(3_000)),
        ("the same, behind a backslash", "a b=\\\",c=\"\\\\\n".repeat(3_000)),
        ("open to the end of the body", "a b=\"\\\"\n".repeat(3_000)),
        ("closed at the end of the body, badly", format!("{}\"x", "a b=\"\\\"\n".repeat(3_000))),
        ("a field without a value, far away", format!("{}\",x", "a b=1\",c=\"\n".repeat(3_000))),
        ("two times, far away", format!("{}\" 1 2", "a b=1\",c=\"\n".repeat(3_000))),
        ("strings that close", "a b=\"\n\",c=\"\n\"\n".repeat(3_000)),
        ("a quote that closes as the next opens", "a b=\"\n".repeat(3_000)),
        (
            "broken in a long line",
            format!("{}{}", "a b=1\",c=\"\n".repeat(3_000), "x".repeat(90_000)),
        ),
        ("nothing but quotes", "\"".repeat(30_000)),
        ("quotes and ends of lines", "\"\n".repeat(30_000)),
        ("quotes and commas", "a b=\",\",".repeat(3_000)),
        ("backslashes", "a b=\"\\\\\n\\\"".repeat(3_000)),
        ("bad lines, each shown", "a b\n".repeat(3_000)),
        ("sound lines", "inv1 p=1,q=\"s\" 1\n".repeat(3_000)),
        ("comments", "# c\"\n".repeat(3_000)),
    ];
    for (name, body) in rows {
        let (nexts, read_bytes) = scanned(scan(body));
        assert!(!nexts.is_empty(), "{name}");
        assert!(read_bytes >= body.len(), "{name}: the count is real");
        let max = 4 * body.len() + SPARE_BYTES_MIN + 2 * SHOWN_BYTES_MAX;
        let times = read_bytes / body.len();
        assert!(read_bytes <= max, "{name}: {read_bytes} bytes, {times} times the body");
    }
}

#[test]
fn behind_many_broken_lines_a_string_ends_with_its_line_and_sound_lines_are_still_taken() {
    let broken = "a b=1\",c=\"x\n".repeat(1_000);
    let body = format!("a b=\"\n\"\n{broken}inv1 p=1\ninv2 s=\"x\",p=2 5\na b=\"\n\"\n");
    let (nexts, _) = scanned(scan(&body));
    let line = |next: &Next<'_>| match next {
        Next::Line(line) => Some(String::from_utf8_lossy(line.raw).into_owned()),
        _ => None,
    };
    let lines: Vec<_> = nexts.iter().filter_map(line).collect();
    assert_eq!(lines, ["a b=\"\n\"", "inv1 p=1", "inv2 s=\"x\",p=2 5"]);
    assert_eq!(nexts.len(), 1 + 1_000 + 2 + 2);
}

#[test]
fn forgotten_quotes_leave_the_strings_of_other_lines_whole() {
    let some = "inv1 s=\"x\ninv1 p=1,s=\"y\"\ninv1 p=1\n".repeat(100);
    let body = format!("{some}a b=\"1\n2\"\n");
    let (nexts, _) = scanned(scan(&body));
    assert_eq!(nexts.len(), 301);
    assert!(matches!(&nexts[300], Next::Line(line) if line.raw == b"a b=\"1\n2\""));
    let broken = nexts.iter().filter(|n| matches!(n, Next::Broken(..))).count();
    assert_eq!(broken, 100);
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_read_too_often(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "a b=", "\"", "\",c=\"", "=\"", "\\", "\\\"", ",", " ", "=", "x", "\n", "\r\n",
                "\r", "a b=1\",c=\"\n", " 1", "#",
            ]),
            0..300,
        ),
        spare in 0.0..=1.0,
    ) {
        let body = parts.concat();
        let spare_bytes = (body.len() as f64 * spare) as usize;
        let (_, read_bytes) = scanned(Scan { spare_bytes, ..scan(&body) });
        prop_assert!(read_bytes <= 3 * body.len() + spare_bytes + 2 * SHOWN_BYTES_MAX);
    }
}
