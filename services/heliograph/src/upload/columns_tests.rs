use super::*;

fn shown(c: &Column) -> String {
    let unit = c.unit.as_ref().map(|u| format!("[{u}]")).unwrap_or_default();
    format!("{}/{}{unit}", c.device, c.metric)
}

/// The columns behind `t`, with these `--column`, `--skip` and `--only`.
fn of(
    headers: &[&str],
    named: &[&str],
    skipped: &[&str],
    only_named: bool,
) -> Result<Vec<Column>, Violation> {
    let owned = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let headers: Vec<String> = owned(&[&["t"], headers].concat());
    let device = DeviceId::parse("plant").unwrap();
    let (named, skipped) = (owned(named), owned(skipped));
    let wanted = Wanted { device: &device, named: &named, skipped: &skipped, only_named };
    columns(&headers, 0, &wanted)
}

#[test]
fn an_argument_is_for_its_column_and_the_others_stay_what_they_are() {
    let headers = ["AC Power [kW]", "P", "x"];
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], bool, &'a [&'a str]);
    let rows: [Row; 5] = [
        ("all by their headers", &[], &[], false, &["plant/ac_power[kW]", "plant/p", "plant/x"]),
        (
            "one is named",
            &["P=inv1/dc_power[kW]"],
            &[],
            false,
            &["plant/ac_power[kW]", "inv1/dc_power[kW]", "plant/x"],
        ),
        ("one is skipped", &[], &["P"], false, &["plant/ac_power[kW]", "plant/x"]),
        ("only the named", &["x=a", "P=b"], &[], true, &["plant/b", "plant/a"]),
        ("skipped wins", &["x=a", "P=b"], &["x"], true, &["plant/b"]),
    ];
    for (name, named, skipped, only, want) in rows {
        let got = of(&headers, named, skipped, only).unwrap();
        assert_eq!(got.iter().map(shown).collect::<Vec<_>>(), want, "{name}");
    }
}

#[test]
fn a_column_can_be_named() {
    let rows = [
        ("P=inv1/ac_power[kW]", Ok("inv1/ac_power[kW]")),
        ("P=ac_power", Ok("plant/ac_power")),
        ("A=B=bus1/inv:2/frobs", Ok("bus1/inv:2/frobs")),
        ("P", Err("want HEADER=")),
        ("p=ac_power", Err("--column: got \"p\", want a column of the file: did you mean \"P\"?")),
        ("zzz=ac_power", Err("want a column of the file: t, A=B, P")),
        ("P=a b/ac_power", Err("device")),
        ("P=", Err("metric")),
        ("P=ac_power[V]", Err("unit: got \"V\", want one of W, kW, MW")),
        ("P=ac_powr[kW]", Err("did you mean ac_power?")),
    ];
    for (text, want) in rows {
        match (of(&["A=B", "P"], &[text], &[], true), want) {
            (Ok(got), Ok(want)) => assert_eq!(shown(&got[0]), want, "{text}"),
            (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{text}: {got}"),
            (got, want) => panic!("{text}: {got:?}, want {want:?}"),
        }
    }
}

#[test]
fn what_a_header_may_mean_can_be_pasted() {
    let rows = [
        ("INV1 CB2 Voltage [V]", Some("--column 'INV1 CB2 Voltage [V]=inv1_cb2/dc_voltage[V]'")),
        ("inv2_temp__1050", Some("--column inv2_temp__1050=inv2/cabinet_temp")),
        ("Plant's Power", Some(r"--column 'Plant'\''s Power=plant_s/ac_power'")),
        ("zenith", None),
    ];
    for (header, want) in rows {
        let got = of(&[header], &[], &[], false).unwrap();
        assert_eq!(got[0].how, How::OwnName(want.map(str::to_owned)), "{header}");
        assert_eq!((got[0].device.as_str(), &got[0].unit), ("plant", &None), "{header}");
    }
}

#[test]
fn what_cannot_be_taken_says_how_to_go_on() {
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str], bool, &'a str);
    let rows: [Row; 7] = [
        ("a wrong unit", &["AC Power (V)"], &[], &[], false, "or --skip 'AC Power (V)'"),
        ("a header without a letter", &["発電"], &[], &[], false, "--column '発電=DEVICE/METRIC"),
        (
            "one series twice",
            &["ac_power_1137", "AC Power [kW]"],
            &[],
            &[],
            false,
            "two series: --column 'AC Power [kW]=DEVICE/ac_power[kW]', or --skip 'AC Power [kW]'",
        ),
        ("a column twice", &["P"], &["P=a", "P=b"], &[], false, "each column named once"),
        ("nothing to skip", &["P"], &[], &["Q"], false, "--skip: got \"Q\""),
        ("only nothing", &["P"], &[], &[], true, "--only: got no --column"),
        ("a metric that is near one", &["P"], &["P=ac_powr[W]"], &[], false, "mean ac_power?"),
    ];
    for (name, headers, named, skipped, only, want) in rows {
        let got = of(headers, named, skipped, only).unwrap_err().to_string();
        assert!(got.contains(want), "{name}: {got}");
    }
}
