//! `heliograph upload`: a CSV file of any of the sample plants becomes what the file says.

use crate::support::{Installation, OnLog, data_dir, heliograph, on_either_log, repository};
use anyhow::{Context, ensure};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Stdio,
};

on_either_log!(
    each_sample_file_becomes_what_it_says,
    a_mistake_says_what_it_wants_and_loses_nothing_else,
);

/// File, what its times need, a column as a series, and the factor to its stored unit.
const FILES: [(&str, &[&str], &str, &str, f64); 5] = [
    ("nrel_RSF_II.csv", &["--zone", "-07:00"], "ac_power_kw_1137", "meter/ac_power[kW]", 1e3),
    ("rmis_weather_data.csv", &["--zone", "-07:00"], "Wind Speed", "met/wind_speed", 1.0),
    ("serf_east_1min_ac_power.csv", &[], "ac_power__752", "inv1/ac_power", 1.0),
    ("serf_west_15min.csv", &["--zone", "-07:00"], "poa_irradiance__771", "pyr/ghi", 1.0),
    ("snow_data.csv", &["--zone", "-07:00"], "INV1 AC Power [kW]", "inv1/ac_power[kW]", 1e3),
];

/// The cells of a file; none of the sample files quotes.
fn cells(file: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(repository().join("sample-data").join(file))?;
    let text = text.trim_start_matches('\u{feff}');
    Ok(text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

fn thousands(n: usize) -> String {
    let text = n.to_string();
    let (head, tail) = text.split_at(text.len().saturating_sub(3));
    if head.is_empty() { text } else { format!("{},{tail}", thousands(head.parse().unwrap_or(0))) }
}

fn run(
    up: &Installation,
    file: &str,
    site: &str,
    token: &str,
    more: &[&str],
) -> anyhow::Result<(bool, String, String)> {
    let mut args = vec!["upload", file, "--site", site, "--token", token];
    args.extend(more);
    let output = up.command(&args)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

async fn each_sample_file_becomes_what_it_says(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    for (n, (file, needs, header, series, factor)) in FILES.into_iter().enumerate() {
        let (rows, path) = (cells(file)?, format!("sample-data/{file}"));
        let (whole, one) = (format!("whole-{n}"), format!("one-{n}"));
        let token = up.add_site(&whole, "Etc/GMT+7")?;
        let (ok, stdout, stderr) = run(&up, &path, &whole, &token, needs)?;
        ensure!(ok, "{file}: {stdout}{stderr}");
        let filled = |row: &Vec<String>| row[1..].iter().filter(|c| !c.is_empty()).count();
        let want: usize = rows[1..].iter().map(filled).sum();
        let said = format!("{} readings taken in ", thousands(want));
        ensure!(stdout.contains(&said), "{file}: want {said:?} in {stdout}");
        ensure!(stdout.contains(" uploads, 0 left out\n"), "{file}: {stdout}");
        let said = format!("see them: heliograph readings {whole} --from 202");
        ensure!(stdout.contains(&said), "{file}: {stdout}");

        let token = up.add_site(&one, "Etc/GMT+7")?;
        let column = format!("{header}={series}");
        let needs = [needs, &["--only", "--column", &column, "--batch", "100"]].concat();
        let (ok, stdout, stderr) = run(&up, &path, &one, &token, &needs)?;
        ensure!(ok, "{file}: {stdout}{stderr}");
        let at = rows[0].iter().position(|h| h == header).context("the column")?;
        let cells = rows[1..].iter().map(|r| r[at].as_str()).filter(|c| !c.is_empty());
        let want: Vec<f64> =
            cells.map(|c| c.parse::<f64>().map(|v| v * factor)).collect::<Result<_, _>>()?;
        // It says that they can be read, so nothing is waited for.
        let args = [
            "readings",
            &one,
            "--from",
            "2021-12-01",
            "--to",
            "2022-12-31",
            "--step",
            "raw",
            "--json",
        ];
        let output = up.command(&args)?;
        let got: Vec<f64> = String::from_utf8(output.stdout)?
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line)
                    .map(|p| p["value"].as_f64().unwrap_or(f64::NAN))
            })
            .collect::<Result<_, _>>()?;
        assert_eq!(got, want, "{file}");
    }
    up.stop()
}

#[test]
fn what_each_column_is_taken_for_is_shown() -> anyhow::Result<()> {
    let dir = data_dir();
    // Nothing runs, and nobody is asked.
    let shown = |file: &str, more: &[&str]| -> anyhow::Result<String> {
        let args = ["upload", file, "--site", "snow", "--zone", "-07:00", "--dry-run"];
        let output = heliograph(dir.path()).args(args).args(more).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let rows: [(&str, &[&str], &[&str]); 4] = [
        (
            "sample-data/snow_data.csv",
            &[],
            &[
                "\"POA [W/m²]\" is plant/poa_irradiance [W/m²], at most ",
                "\"Module Temp [C]\" is plant/module_temp [C], at most ",
                "\"INV1 AC Power [kW]\" is inv1/ac_power [kW], at most 38.328 kW → 38,327.7 W\n",
                "\"INV1 CB2 Voltage [V]\" is kept as plant/inv1_cb2_voltage_v, its own name, at most ",
                " readings in 576 rows\nfirst time: \"1/5/2022 0:00\" is 2022-01-05T00:00:00",
                "-07:00\nlast time: \"",
                "-07:00\ndates are month-first, as the file tells\n",
                "nothing was sent; the token was not checked: none is given\n",
                "9 columns are kept under their own names, without a unit. ",
                "\n  --column 'INV1 CB2 Voltage [V]=inv1_cb2/dc_voltage[V]'\n",
                "\n  --skip apparent_zenith --skip zenith ",
            ],
        ),
        (
            "sample-data/snow_data.csv",
            &["--column", "INV1 CB2 Voltage [V]=inv1_cb2/dc_voltage[V]", "--skip", "aoi"],
            &[
                "\"POA [W/m²]\" is plant/poa_irradiance [W/m²], at most ",
                "\"INV1 CB2 Voltage [V]\" is inv1_cb2/dc_voltage [V], at most ",
                "7 columns are kept",
            ],
        ),
        (
            "sample-data/nrel_RSF_II.csv",
            &[],
            &[
                "\"ac_power_kw_1137\" is plant/ac_power [kW], at most ",
                "\"inv2_ac_power_w__1047\" is inv2/ac_power [W], at most ",
                "\n  --column inv2_temp__1050=inv2/cabinet_temp\n",
            ],
        ),
        (
            "sample-data/rmis_weather_data.csv",
            &[],
            &[
                "\"Relative Humidity\" is plant/relative_humidity [%]: its values are no shares of 1",
            ],
        ),
    ];
    for (file, more, words) in rows {
        let text = shown(file, more)?;
        for words in words {
            ensure!(text.contains(words), "{file}: want {words:?} in {text}");
        }
    }
    Ok(())
}

#[test]
fn that_nothing_answers_is_said_before_it_is_tried_for_long() -> anyhow::Result<()> {
    let dir = data_dir();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (file, gateway) = ("sample-data/snow_data.csv", format!("http://127.0.0.1:{port}"));
    let args = ["upload", file, "--site", "snow", "--zone", "-07:00", "--token", "hg_site_x"];
    let mut upload = heliograph(dir.path());
    upload.args(args).args(["--gateway", &gateway]);
    let dry = heliograph(dir.path()).args(upload.get_args()).arg("--dry-run").output()?;
    let said = String::from_utf8(dry.stdout)?;
    let words = format!("the token was not checked: nothing answers at {gateway}\n");
    ensure!(dry.status.success() && said.ends_with(&words), "{said}");

    let mut child = upload.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let read = BufReader::new(child.stderr.take().context("stderr")?).read_line(&mut line);
    child.kill()?;
    child.wait()?;
    read?;
    let words = format!("nothing answers at {gateway}: is `heliograph up` running?");
    ensure!(line.starts_with(&words), "want {words:?}, got {line:?}");
    Ok(())
}

async fn a_mistake_says_what_it_wants_and_loses_nothing_else(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let token = up.add_site("roof-7", "Asia/Tokyo")?;
    let file = dir.path().join("roof.csv");
    let file = file.to_str().context("a path")?;
    fs::write(
        file,
        "time,AC Power [kW]\n2026-01-01 09:00,1.5\n2026-01-01 09:01,off\n\n2026-01-01 09:02,\nx,2\ny\n",
    )?;
    let zone = ["--zone", "Asia/Tokyo"];
    let rows: [(&str, &str, &str, &[&str], &str); 11] = [
        (
            "no zone",
            "roof-7",
            &token,
            &[],
            "the zone of the file's times: --zone, such as -07:00, or an IANA name",
        ),
        ("no such zone", "roof-7", &token, &["--zone", "JST"], "zone: got \"JST\""),
        (
            "no such column",
            "roof-7",
            &token,
            &["--zone", "UTC", "--column", "P=ac_power"],
            "want a column of the file: time, AC Power [kW]",
        ),
        (
            "a column that is nearly one",
            "roof-7",
            &token,
            &["--zone", "UTC", "--skip", "AC Power [W]"],
            "did you mean \"AC Power [kW]\"?",
        ),
        ("no such time", "roof-7", &token, &["--time", "t"], "want a column of the file"),
        (
            "a wrong token",
            "roof-7",
            "hg_site_wrong",
            &zone,
            "401 Unauthorized: no site has this upload token",
        ),
        ("an API token", "roof-7", "hg_api_wrong", &zone, "401 Unauthorized: this is an API token"),
        ("no token", "roof-7", "", &zone, "--token: got nothing"),
        ("another site", "roof-8", &token, &zone, "403 Forbidden"),
        (
            "a wrong token of a dry run",
            "roof-7",
            "hg_site_wrong",
            &["--zone", "UTC", "--dry-run"],
            "401 Unauthorized",
        ),
        (
            "an offset that is nearly one",
            "roof-7",
            &token,
            &["--zone", "-0700"],
            "did you mean -07:00?",
        ),
    ];
    for (name, site, token, more, words) in rows {
        let (ok, stdout, stderr) = run(&up, file, site, token, more)?;
        ensure!(!ok && stderr.contains(words), "{name}: want {words:?} in {stdout}{stderr}");
        let is_first = !words.starts_with("40") || stdout.is_empty();
        ensure!(is_first, "{name}: the token is looked at before anything is shown: {stdout}");
    }
    let dry = [&zone[..], &["--dry-run"]].concat();
    let (ok, stdout, stderr) = run(&up, file, "roof-7", &token, &dry)?;
    let words =
        "nothing was sent; the token is a site's, the upload will check that it is roof-7's";
    ensure!(ok && stdout.contains(words), "{stdout}{stderr}");
    let (ok, stdout, stderr) = run(&up, file, "roof-7", &token, &zone)?;
    ensure!(!ok, "{stdout}{stderr}");
    for words in [
        "\"AC Power [kW]\" is plant/ac_power [kW], at most 1.5 kW → 1,500 W\n1 reading in 1 row\n",
        "\n3 cells or rows cannot be used and will be left out; the upload names each\n",
        "first time: \"2026-01-01 09:00\" is 2026-01-01T09:00:00+09:00\n",
        "left out: line 3, column \"AC Power [kW]\": got \"off\", want a number, or nothing",
        "left out: line 6: time: got \"x\"",
        "left out: line 7: got 1 cell, want 2 cells between commas",
        "1 reading taken in 1 upload, 3 left out",
        "heliograph readings roof-7 --from 2026-01-01T00:00:00.000Z --to 2026-01-01T00:00:01.000Z",
    ] {
        ensure!(stdout.contains(words), "want {words:?} in {stdout}{stderr}");
    }
    up.stop()
}
