use super::*;

fn site() -> v1::SiteSummary {
    v1::SiteSummary {
        site_id: "s1".into(),
        name: "屋上".into(),
        zone: "Asia/Tokyo".into(),
        ..Default::default()
    }
}

fn response(qualities: Vec<i32>) -> v1::QueryReadingsResponse {
    v1::QueryReadingsResponse {
        step: v1::Step::Raw.into(),
        series: vec![v1::Series {
            device: "inv1".into(),
            metric: "ac_power".into(),
            unit: "W".into(),
            ts_ms: vec![1_767_225_600_000, 1_767_225_660_000, 1_767_225_720_000],
            values: vec![-1.5, 0.0, 12_345.678],
            qualities,
        }],
    }
}

fn tables(response: &v1::QueryReadingsResponse, rows_max: usize) -> String {
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let options = Options { rows_max, ..Options::of_site("s1") };
    let range = (1_767_225_600_000, 1_767_225_900_000);
    let mut out = Vec::new();
    let page = Page { site: &site(), zone: &zone, range, newest: None, options: &options };
    page.print(response, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table_has_a_header_and_the_newest_row_last() {
    let text = tables(&response(vec![1, 1, 1]), 2);
    for words in [
        "屋上 (s1) · Asia/Tokyo · 2026-01-01 09:00:00 to 2026-01-01 09:05:00",
        "step raw · 1 series · 3 points",
        "inv1 ac_power · 3 points",
        "1 earlier points are not shown",
        "value [W]",
        "2026-01-01 09:02:00+09:00",
        "12,345.7",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("-1.5"), "the earliest row is left out\n{text}");
    assert!(!text.contains("quality"), "all are good\n{text}");
    assert!(text.find("09:01:00+").unwrap() < text.find("09:02:00+").unwrap());
}

#[test]
fn a_quality_that_is_not_good_is_shown() {
    let text = tables(&response(vec![1, 3, 2]), 9);
    assert!(text.contains("bad") && text.contains("suspect"), "{text}");
}

#[test]
fn nothing_is_said_to_be_nothing() {
    let empty = v1::QueryReadingsResponse { step: v1::Step::Hour.into(), series: vec![] };
    let text = tables(&empty, 9);
    assert!(text.contains("step 1h avg · 0 series · 0 points"), "{text}");
    assert!(text.contains("no readings in this range; s1 has sent none yet"), "{text}");
}

#[test]
fn where_nothing_is_it_says_where_something_is() {
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let options = Options::of_site("s1");
    let range = (1_767_225_600_000, 1_767_225_900_000);
    let newest = |ts_ms| {
        let (device, metric) = ("inv1".into(), "ac_power".into());
        Some(v1::Reading { device, metric, ts_ms, ..Default::default() })
    };
    let advice = |newest| {
        let site = site();
        Page { site: &site, zone: &zone, range, newest, options: &options }.where_to_look()
    };
    let rows = [
        (newest(1_767_225_600_000), "s1 has others, such as inv1 ac_power"),
        // Three in the afternoon UTC is the next day in Tokyo.
        (newest(1_767_193_200_000), "try --from 2026-01-01 --to 2026-01-02"),
        (None, "sent none yet"),
    ];
    for (newest, want) in rows {
        let text = advice(newest);
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn charts_take_the_place_of_tables_or_stand_above_them() {
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let style = Style { columns: 60, rows: 3, is_unicode: true, is_coloured: false };
    let range = (1_767_225_600_000, 1_767_225_780_000);
    let text = |has_tables| {
        let options = Options { charts: Some(style), has_tables, ..Options::of_site("s1") };
        let page = Page { site: &site(), zone: &zone, range, newest: None, options: &options };
        let mut out = Vec::new();
        page.print(&response(vec![1, 3, 2]), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let chart = text(false);
    for words in [
        "┤",
        "09:00",
        "min -1.5 W · mean 6,172.1 W · max 12,345.7 W · last 12,345.7 W at 2026-01-01 09:02",
        "1 of bad quality (×)",
        "--table",
    ] {
        assert!(chart.contains(words), "{words}\n{chart}");
    }
    assert!(!chart.contains("value [W]"), "{chart}");
    let both = text(true);
    assert!(both.find("mean").unwrap() < both.find("value [W]").unwrap(), "{both}");
}

#[test]
fn of_many_series_a_few_are_drawn_and_the_others_told() {
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let style = Style { columns: 60, rows: 3, is_unicode: true, is_coloured: false };
    let range = (1_767_225_600_000, 1_767_225_780_000);
    let mut many = response(vec![1, 1, 1]);
    for n in 2..=6 {
        let device = format!("inv{n}");
        many.series.push(v1::Series { device, ..many.series[0].clone() });
    }
    let text = |all| {
        let charts = Some(style);
        let options = Options { charts, all, has_tables: false, ..Options::of_site("s1") };
        let page = Page { site: &site(), zone: &zone, range, newest: None, options: &options };
        let mut out = Vec::new();
        page.print(&many, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let few = text(false);
    assert_eq!(few.matches("ac_power · 3 points").count(), 4, "{few}");
    let told = "2 more, not drawn (--all draws them):\n  inv5 ac_power  min -1.5 W · mean";
    assert!(few.contains(told) && few.contains("\n  inv6 ac_power  min"), "{few}");
    let all = text(true);
    assert_eq!(all.matches("ac_power · 3 points").count(), 6, "{all}");
    assert!(!all.contains("not drawn"), "{all}");
}

#[test]
fn json_has_every_point_unrounded() {
    let mut out = Vec::new();
    print_json(&site(), &response(vec![1, 3, 2]), &mut out).unwrap();
    let lines: Vec<serde_json::Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["value"], 12_345.678);
    assert_eq!(lines[1]["quality"], "bad");
    assert_eq!(lines[0]["ts"], "2026-01-01T00:00:00.000Z");
}

#[test]
fn steps_and_aggregates_have_names() {
    assert_eq!(parse_step("1h"), Ok(v1::Step::Hour));
    assert!(parse_step("2h").is_err());
    assert_eq!(parse_aggregate("max"), Ok(v1::Aggregate::Max));
    assert!(parse_aggregate("unspecified").is_err());
    assert!(parse_aggregate("median").is_err());
}
