//! What is taken of a line, and every reason of every part.

use super::*;

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
const NS: &str = "1767225600000000000";
pub(super) const MAX: usize = 100;

pub(super) fn read(
    body: &[u8],
    precision: Precision,
    max: usize,
) -> Result<Checked<'_>, Violation> {
    let own_site = SiteId::parse("s1").unwrap();
    let context = Context { precision, received_at: NOW, readings_max: max, own_site: &own_site };
    decode(body, &context).map(|d| d.checked)
}

fn checked(body: &str) -> Checked<'_> {
    read(body.as_bytes(), Precision::Ns, MAX).unwrap()
}

/// (device, metric, value, ms after NOW)
fn readings(checked: &Checked<'_>) -> Vec<(String, String, f64, i64)> {
    let row = |r: &Reading| {
        (r.device.to_string(), r.metric.to_string(), r.value, r.ts.as_ms() - NOW.as_ms())
    };
    checked.readings.iter().map(row).collect()
}

/// (index, message, line)
fn rejected(checked: &Checked<'_>) -> Vec<(usize, String, String)> {
    let row = |r: &RejectedReading<'_>| {
        let as_sent = serde_json::to_value(&r.as_sent).unwrap();
        let line = as_sent.as_str().unwrap().to_owned();
        (r.rejected.index, r.rejected.violation.to_string(), line)
    };
    checked.rejected.iter().map(row).collect()
}

fn reading(device: &str, metric: &str, value: f64) -> (String, String, f64, i64) {
    (device.into(), metric.into(), value, 0)
}

#[test]
fn a_sound_line_is_its_fields() {
    type Row = (&'static str, &'static str, &'static [(&'static str, &'static str, f64)]);
    let rows: &[Row] = &[
        ("a float", "inv1 p=1.5", &[("inv1", "p", 1.5)]),
        ("a float without a point", "inv1 p=95800", &[("inv1", "p", 95800.0)]),
        ("an exponent", "inv1 p=-1.5e+2,q=1E3", &[("inv1", "p", -150.0), ("inv1", "q", 1000.0)]),
        ("an integer", "inv1 p=-7i", &[("inv1", "p", -7.0)]),
        ("an unsigned integer", "inv1 p=7u", &[("inv1", "p", 7.0)]),
        (
            "every spelling of true",
            "i a=t,b=T,c=true,d=True,e=TRUE",
            &[("i", "a", 1.0), ("i", "b", 1.0), ("i", "c", 1.0), ("i", "d", 1.0), ("i", "e", 1.0)],
        ),
        (
            "every spelling of false",
            "i a=f,b=F,c=false,d=False,e=FALSE",
            &[("i", "a", 0.0), ("i", "b", 0.0), ("i", "c", 0.0), ("i", "d", 0.0), ("i", "e", 0.0)],
        ),
        ("the tag is the device", "m,device=inv1 p=1", &[("inv1", "p", 1.0)]),
        ("its own site's name", "inv1,site=s1 p=1", &[("inv1", "p", 1.0)]),
        ("other tags are ignored", "inv1,host=h\\ 1,a=ä p=1", &[("inv1", "p", 1.0)]),
        ("a device as a path", "bus1/inv:2 p=1", &[("bus1/inv:2", "p", 1.0)]),
        ("a tag with escapes", "m,device=in\\v1,x=a\\,b\\=c p=1", &[]),
        ("an operating state", "i operating_state=\"MPPT\"", &[("i", "operating_state", 4.0)]),
        ("its number", "i operating_state=4i", &[("i", "operating_state", 4.0)]),
        ("blanks around and between", " \t inv1   p=1  ", &[("inv1", "p", 1.0)]),
        ("a carriage return", "inv1 p=1\r\ninv2 p=2\r", &[("inv1", "p", 1.0), ("inv2", "p", 2.0)]),
        ("empty lines", "\n\r\n \ninv1 p=1\n\n", &[("inv1", "p", 1.0)]),
        ("comments", "# inv0 p=1\n inv1 p=1\n#\"", &[("inv1", "p", 1.0)]),
        ("an exact repeat", "inv1 p=1\ninv1 p=1", &[("inv1", "p", 1.0)]),
        ("nothing", "", &[]),
        ("a newline", "\n", &[]),
    ];
    for (name, body, want) in rows {
        let got = checked(body);
        let want: Vec<_> = want.iter().map(|(d, m, v)| reading(d, m, *v)).collect();
        assert_eq!(readings(&got), want, "{name}");
        assert_eq!(got.rejected.len(), usize::from(*name == "a tag with escapes"), "{name}");
    }
    assert_eq!(checked("inv1 p=1\ninv1 p=1").sent, 2);
    assert_eq!(checked("#\n\n").sent, 0);
}

#[test]
fn times_have_the_unit_of_the_precision() {
    let rows: &[(&str, Precision, &str, i64)] = &[
        ("nanoseconds", Precision::Ns, NS, 0),
        ("finer than a millisecond is cut", Precision::Ns, "1767225600000999999", 0),
        ("microseconds", Precision::Us, "1767225600001999", 1),
        ("milliseconds", Precision::Ms, "1767225600001", 1),
        ("seconds", Precision::S, "1767225601", 1_000),
        ("minutes", Precision::M, "29453761", 60_000),
        ("hours", Precision::H, "490895", -3_600_000),
    ];
    for (name, precision, ts, want) in rows {
        let body = format!("inv1 p=1 {ts}");
        let got = read(body.as_bytes(), *precision, MAX).unwrap();
        assert_eq!(readings(&got), [("inv1".into(), "p".into(), 1.0, *want)], "{name}");
    }
    assert_eq!(readings(&checked("inv1 p=1"))[0].3, 0, "none: when it came");
    assert_eq!(Precision::Ns.to_ms(-1), Some(-1), "cut towards the past, also before 1970");
}

#[test]
fn a_precision_has_the_names_of_every_version() {
    let rows = [
        (Precision::Ns, "ns n nanosecond"),
        (Precision::Us, "us u µ µs microsecond"),
        (Precision::Ms, "ms millisecond"),
        (Precision::S, "s second"),
        (Precision::M, "m"),
        (Precision::H, "h"),
    ];
    for (want, names) in rows {
        for name in names.split(' ') {
            assert_eq!(Precision::parse(name), Ok(want), "{name}");
        }
        assert_eq!(Precision::of_media_type(want.media_type()), Some(want));
    }
    for wrong in ["", "NS", "d", "minute", "1s"] {
        assert_eq!(Precision::parse(wrong).unwrap_err().field, "precision", "{wrong}");
    }
    assert_eq!(Precision::of_media_type("text/plain"), None);
}

#[test]
fn a_bad_line_is_rejected_once_and_says_why() {
    let rows: &[(&str, &str, &str)] = &[
        ("no field", "x", "field: got the end of the line, want name=value; a space"),
        ("no measurement", ",a=b p=1", "measurement: got \",a=b p=1\", want a name"),
        ("a tag without a value", "m,a p=1", "tag: got \"a p=1\", want name=value; a space"),
        ("a tag with an empty value", "m,a= p=1", "tag: got \" p=1\", want name=value, each ="),
        ("a tag without a name", "m,=b p=1", "tag: got \"=b p=1\", want name=value"),
        ("two = in a tag", "m,a=b=c p=1", "tag: got \"=c p=1\", want name=value, each ="),
        ("a tag twice", "m,device=a,device=b p=1", "tag: got \"device\" twice, want each tag once"),
        ("an unknown tag twice", "m,h=a,h=a p=1", "tag: got \"h\" twice, want each tag once"),
        ("no fields but a time", "m 1", "field: got \"1\", want name=value"),
        ("a space in a name", "m ac power=1", "field: got \"ac power=1\", want name=value; a"),
        ("a space behind a comma", "m p=1, q=2", "field: got \" q=2\", want name=value"),
        ("a comma at the end", "m p=1,", "field: got the end of the line, want name=value"),
        ("an open string", "m p=\"x", "field: got \"\\\"x\", want a closing double quote"),
        ("text behind a string", "m p=\"x\"y", "field: got \"y\", want a comma, a space or"),
        ("a time that is none", "m p=1 now", "timestamp: got \"now\", want an integer of ns"),
        ("a float as a time", "m p=1 1.5", "timestamp: got \"1.5\", want an integer of ns since"),
        ("two times", "m p=1 1 2", "timestamp: got \"1 2\", want one integer, and nothing"),
        ("a time over 64 bits", "m p=1 99999999999999999999", "timestamp: got \"9999999999"),
        ("seconds read as ns", "m p=1 1767225600", "timestamp: got 1970-01-01T00:00:01.767Z, want"),
        ("another's site", "m,site=s2 p=1", "site: got \"s2\", want \"s1\", the site of the token"),
        ("a device with no form", "m,device=a\\ b p=1", "device: got \"a b\", want 1 to 64 ASCII"),
        ("a measurement with no form", "°C p=1", "device: got \"°C\", want 1 to 64 ASCII letters"),
    ];
    for (name, line, want) in rows {
        let body = format!("inv1 p=1\n{line}\ninv2 p=2\n");
        let got = checked(&body);
        assert_eq!(
            readings(&got),
            [reading("inv1", "p", 1.0), reading("inv2", "p", 2.0)],
            "{name}"
        );
        let rejected = rejected(&got);
        assert_eq!(rejected.len(), 1, "{name}: {rejected:?}");
        let (index, message, kept) = &rejected[0];
        assert_eq!((*index, kept.as_str()), (1, *line), "{name}");
        assert!(message.starts_with(want), "{name}: {message}");
        assert_eq!(got.sent, 3, "{name}");
    }
    let hint = rejected(&checked("°C p=1")).remove(0).1;
    assert!(hint.ends_with("; without a tag `device` the measurement is it"), "{hint}");
    let hint = rejected(&checked("m p=1 1767225600")).remove(0).1;
    assert!(hint.ends_with("; precision=ns"), "{hint}");
}

#[test]
fn a_time_that_overflows_is_rejected() {
    for precision in [Precision::S, Precision::M, Precision::H, Precision::Ms] {
        for ts in [i64::MAX, i64::MIN] {
            let body = format!("inv1 p=1 {ts}");
            let got = read(body.as_bytes(), precision, MAX).unwrap();
            assert_eq!(rejected(&got)[0].1.split(':').next(), Some("timestamp"), "{precision:?}");
        }
    }
}

#[test]
fn a_bad_field_spoils_no_other_of_its_line() {
    let rows: &[(&str, &str, &str)] = &[
        ("a string", "s=\"a, b=\\\"1\"", "s: got the string \"a, b=\\\\\\\"1\", want a number or"),
        ("an empty string", "s=\"\"", "s: got the string \"\", want a number or a boolean"),
        ("a word", "s=on", "s: got \"on\", want a number such as 1.5"),
        ("nothing", "s=", "s: got \"\", want a number such as"),
        ("no number", "s=NaN", "s: got \"NaN\", want a number such as"),
        ("infinity", "s=inf", "s: got \"inf\", want a number such as"),
        ("too large", "s=1e999", "s: got inf, want a finite number"),
        ("too large an integer", "s=9223372036854775808i", "s: got \"9223372036854775808i\", want"),
        ("a negative unsigned integer", "s=-1u", "s: got \"-1u\", want an integer of 64 bits, 0"),
        ("a fraction as an integer", "s=1.5i", "s: got \"1.5i\", want an integer of 64 bits"),
        ("a metric with no form", "a/s=1", "metric: got \"a/s\", want 1 to 64 ASCII letters"),
        ("an escaped space in a metric", "a\\ s=1", "metric: got \"a s\", want 1 to 64"),
        (
            "another state",
            "operating_state=\"On\"",
            "operating_state: got \"\\\"On\\\"\", want a nu",
        ),
        ("another value", "q=3", "q: got 2026-01-01T00:00:00.000Z twice with different values"),
    ];
    for (name, field, want) in rows {
        let line = format!("inv1 p=1,{field},q=2 {NS}");
        let got = checked(&line);
        let want_readings = [reading("inv1", "p", 1.0), reading("inv1", "q", 2.0)];
        assert_eq!(readings(&got), want_readings, "{name}");
        let rejected = rejected(&got);
        assert_eq!(rejected.len(), 1, "{name}: {rejected:?}");
        assert!(rejected[0].1.starts_with(want), "{name}: {}", rejected[0].1);
        assert_eq!(rejected[0].2, line, "{name}");
        assert_eq!(got.sent, 3, "{name}");
    }
}

#[test]
fn a_line_with_several_bad_fields_is_kept_once() {
    let got = checked("m a=\"x\",p=1,b=\"y\",q=1,q=2");
    let rejected = rejected(&got);
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].1.ends_with(" (2 more fields of this line refused)"), "{}", rejected[0].1);
    assert_eq!((got.sent, got.readings.len()), (3, 2));
}

#[test]
fn a_line_is_found_again_by_its_number_and_an_open_quote_ends_with_its_line() {
    let body = "# c\n\na s=\"1\n2\",p=1\nb s=\"x\nc p=2\nd s=\"y\" 1 2\ne p=3\nx";
    let got = checked(body);
    let want = [("a", 1.0), ("c", 2.0), ("e", 3.0)].map(|(d, v)| reading(d, "p", v));
    assert_eq!(readings(&got), want);
    let lines: Vec<_> = rejected(&got).into_iter().map(|(i, _, line)| (i, line)).collect();
    let want = [(2, "a s=\"1\n2\",p=1"), (4, "b s=\"x"), (6, "d s=\"y\" 1 2"), (8, "x")];
    assert_eq!(lines, want.map(|(i, l)| (i, l.to_owned())));
}

#[test]
fn a_backslash_takes_the_meaning_from_a_separator() {
    let rows: &[(&str, &str, &str)] = &[
        ("measurement", "a\\,b\\ c p=1", "device: got \"a,b c\""),
        ("tag", "m,device=a\\=b\\,c p=1", "device: got \"a=b,c\""),
        ("field", "m a\\=b\\,c\\ d=1", "metric: got \"a=b,c d\""),
        ("itself", "a\\\\b p=1", "device: got \"a\\\\b\""),
        ("none of its own", "a\\b p=1", "device: got \"a\\\\b\""),
        ("not from the end of a line", "a\\\nx", "field: got the end of the line"),
    ];
    for (name, body, want) in rows {
        let message = rejected(&checked(body)).remove(0).1;
        assert!(message.starts_with(want), "{name}: {message}");
    }
    assert_eq!(readings(&checked("m,de\\vice=x,\\device=y p=1")), [reading("m", "p", 1.0)]);
}

#[test]
fn bytes_that_are_no_text_are_kept_as_they_came() {
    let got = read(b"inv1 p=1\nm\xff p=1\ninv2,x=\xff p=2", Precision::Ns, MAX).unwrap();
    assert_eq!(readings(&got), [reading("inv1", "p", 1.0), reading("inv2", "p", 2.0)]);
    let as_sent = serde_json::to_string(&got.rejected[0].as_sent).unwrap();
    assert_eq!(as_sent, r#"{"base64":"bf8gcD0x"}"#);
}

#[test]
fn more_than_the_limit_is_refused_as_a_whole() {
    let rows: &[(&str, String, bool)] = &[
        ("as many lines", "x\n".repeat(MAX), true),
        ("one more", "x\n".repeat(MAX + 1), false),
        ("as many fields", format!("m {}\n", vec!["p=1"; MAX].join(",")), true),
        ("lines and fields together", format!("x\nm {}\n", vec!["p=1"; MAX].join(",")), false),
        ("blank lines and comments do not count", "#\n\n".repeat(MAX), true),
    ];
    for (name, body, taken) in rows {
        let got = read(body.as_bytes(), Precision::Ns, MAX);
        assert_eq!(got.is_ok(), *taken, "{name}");
        if let Err(violation) = got {
            assert_eq!(violation.field, "body", "{name}");
        }
    }
    let wide = format!("m {}\ninv1 p=1", vec!["p=1"; MAX + 1].join(","));
    let got = read(wide.as_bytes(), Precision::Ns, MAX).unwrap();
    assert_eq!(readings(&got), [reading("inv1", "p", 1.0)], "nobody can split one line");
    assert!(rejected(&got)[0].1.starts_with("fields: got more than 100, want fewer"));
}
