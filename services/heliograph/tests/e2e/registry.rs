//! Sites, tenants and tokens by the command line.

use crate::support::{Installation, OnLog, data_dir, heliograph, on_either_log};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, process::Output, time::Duration};

on_either_log!(
    a_sites_life,
    the_days_of_a_removed_site_are_rebuilt_as_they_were,
    a_file_of_sites_is_imported_whole_or_not_at_all,
    tenants_and_api_tokens,
);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Stdout of a command that succeeds.
fn done(up: &Installation, args: &[&str]) -> anyhow::Result<String> {
    let output = up.command(args)?;
    ensure!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    Ok(text(&output.stdout))
}

/// Stderr of a command that is refused.
fn refused(up: &Installation, args: &[&str]) -> anyhow::Result<String> {
    let output: Output = up.command(args)?;
    ensure!(output.status.code() == Some(1), "{args:?}: {}", output.status);
    ensure!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
    Ok(text(&output.stderr))
}

fn lines(text: &str) -> anyhow::Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn sites(up: &Installation) -> anyhow::Result<Vec<Value>> {
    lines(&done(up, &["site", "list", "--json"])?)
}

/// The status of uploads with this token, as soon as it is not `before`.
async fn status_after(up: &Installation, token: &str, before: u16) -> anyhow::Result<u16> {
    let body = json!({ "readings": [] });
    let changes = async {
        loop {
            let (status, _) = up.upload(token, &body).await?;
            if status != before {
                return Ok(status);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), changes).await.context("nothing changed")?
}

async fn a_sites_life(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let add = ["site", "add", "s1", "--tenant", "t1", "--zone", "Asia/Tokyo"];
    let first = done(&up, &add)?;
    ensure!(first.starts_with("hg_site_") && !first.contains(char::is_whitespace), "{first}");
    let said = refused(&up, &add)?;
    ensure!(said.contains("already") && said.contains("heliograph site set s1"), "{said}");
    ensure!(status_after(&up, &first, 401).await? == 200, "the new site's token");

    done(&up, &["site", "set", "s1", "--name", "Roof", "--rated-power-w", "49500"])?;
    let said = refused(&up, &["site", "set", "s1"])?;
    ensure!(said.contains("at least one of --tenant"), "{said}");
    let said = refused(&up, &["site", "set", "s1", "--tenant", "t9"])?;
    ensure!(said.contains("heliograph tenant add t9") && said.contains("site.tenant_id"), "{said}");
    let said = refused(&up, &["site", "set", "s1", "--upload-interval-s", "0"])?;
    ensure!(said.contains("site.upload_interval_s: got 0, want 1 to 86400 seconds"), "{said}");
    let want = json!({ "site": "s1", "tenant": "t1", "name": "Roof", "zone": "Asia/Tokyo",
                       "upload_interval_s": 60, "reading_interval_s": 60,
                       "rated_power_w": 49500.0, "stale_after_s": 300 });
    ensure!(sites(&up)? == [want], "{:?}", sites(&up)?);

    let second = done(&up, &["site", "rotate-token", "s1"])?;
    ensure!(status_after(&up, &first, 200).await? == 401, "the old token");
    ensure!(up.upload(&second, &json!({ "readings": [] })).await?.0 == 200, "the new token");

    let said = refused(&up, &["site", "remove", "s1"])?;
    ensure!(said.contains("--yes"), "{said}");
    let said = done(&up, &["site", "remove", "s1", "--yes"])?;
    ensure!(said.contains("its readings and its time zone stay"), "{said}");
    ensure!(status_after(&up, &second, 200).await? == 401, "a removed site's token");
    ensure!(sites(&up)?.is_empty(), "it is still listed");
    let said = refused(&up, &["site", "add", "s1", "--tenant", "t1", "--zone", "UTC"])?;
    ensure!(said.contains("site.zone: got \"UTC\", want \"Asia/Tokyo\""), "{said}");
    done(&up, &add)?;
    up.stop()
}

async fn the_days_of_a_removed_site_are_rebuilt_as_they_were(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let token = done(&up, &["site", "add", "s1", "--tenant", "t1", "--zone", "Asia/Tokyo"])?;
    // 15:00 UTC is the next day in Tokyo.
    let readings: Vec<Value> = [10, 20]
        .map(|hour| {
            json!({ "device": "inv1", "metric": "ac_power", "value": hour,
                    "ts": format!("2026-01-01T{hour}:00:00Z") })
        })
        .into();
    ensure!(status_after(&up, &token, 401).await? == 200, "the gateway knows the site");
    up.upload(&token, &json!({ "readings": readings })).await?;
    ensure!(up.audit(&[])?["rollup_mismatch"] == 0, "before");
    done(&up, &["site", "remove", "s1", "--yes"])?;
    let report = up.json(&["rebuild", "--json"])?;
    let tables = report["tables"].as_array().context("tables")?;
    ensure!(tables.len() == 4, "{report}");
    for table in tables {
        ensure!(table["checksum_before"] == table["checksum_after"], "{report}");
    }
    let days = tables.iter().find(|t| t["table"] == "readings_1d").context("readings_1d")?;
    ensure!(days["rows_after"] == 2, "two local days: {report}");
    let audit = up.audit(&[])?;
    ensure!(audit["rollup_mismatch"] == 0 && audit["missing"] == 0, "{audit}");
    up.stop()
}

async fn a_file_of_sites_is_imported_whole_or_not_at_all(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    done(&up, &["site", "add", "s1", "--tenant", "t1", "--zone", "Asia/Tokyo"])?;
    let (file, tokens) = (dir.path().join("sites.csv"), dir.path().join("tokens.json"));
    let (csv, json_file) = (file.display().to_string(), tokens.display().to_string());
    fs::write(&file, "id,tenant,zone\ns2,t2,UTC\ns 3,t2,UTC\ns4,,Mars/Olympus\n")?;
    let said = refused(&up, &["site", "import", &csv])?;
    for want in [
        "line 3, column id: got \"s 3\", want",
        "line 4, column tenant: got nothing, want a tenant",
        "line 4, column zone: got \"Mars/Olympus\"",
        "nothing was imported",
    ] {
        ensure!(said.contains(want), "{want}: {said}");
    }
    // What only the registry knows is found before anything is put.
    fs::write(&file, "id,tenant,zone\ns2,t2,UTC\ns1,t1,UTC\n")?;
    let said = refused(&up, &["site", "import", &csv])?;
    ensure!(said.contains("line 3, column zone: got \"UTC\", want \"Asia/Tokyo\""), "{said}");
    ensure!(sites(&up)?.len() == 1, "something was imported");

    fs::write(&file, "id,tenant,zone,name\ns2,t2,UTC,\ns1,t1,Asia/Tokyo,Roof\n")?;
    let planned = done(&up, &["site", "import", &csv, "--dry-run"])?;
    ensure!(planned == "add    tenant t2\nadd    site s2\nchange site s1", "{planned}");
    ensure!(sites(&up)?.len() == 1, "a dry run imported");
    let said = done(&up, &["site", "import", &csv, "--tokens", &json_file])?;
    ensure!(said == "1 sites added, 1 changed, 0 left as they were; new tenants: t2", "{said}");
    let held: Value = serde_json::from_slice(&fs::read(&tokens)?)?;
    let token = held["s2"].as_str().context("the new site's token")?;
    ensure!(held.get("s1").is_none(), "a known site keeps its token: {held}");
    ensure!(fs::metadata(&tokens)?.permissions().mode() & 0o777 == 0o600, "others can read it");
    ensure!(status_after(&up, token, 401).await? == 200, "the imported site's token");
    let said = up.json(&["site", "import", &csv, "--tokens", &json_file, "--json"])?;
    let left = json!({ "added": 0, "changed": 0, "left": 2, "tenants_added": [] });
    ensure!(said == left, "again it changes nothing: {said}");

    let file = dir.path().join("more.jsonl");
    fs::write(&file, "{\"id\":\"s5\",\"tenant\":\"t2\",\"zone\":\"UTC\"}\n")?;
    let said = done(&up, &["site", "import", &file.display().to_string()])?;
    ensure!(said.starts_with("site,token\ns5,hg_site_"), "{said}");
    up.stop()
}

async fn tenants_and_api_tokens(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    done(&up, &["tenant", "add", "acme", "--name", "Acme Solar"])?;
    let said = refused(&up, &["tenant", "add", "acme"])?;
    ensure!(said.contains("heliograph tenant set acme"), "{said}");
    let said = refused(&up, &["tenant", "set", "nobody", "--name", "x"])?;
    ensure!(said.contains("heliograph tenant add nobody"), "{said}");
    done(&up, &["tenant", "set", "acme", "--name", "Acme"])?;

    let add = ["token", "add", "--role", "viewer", "--name", "wall screen", "--tenant"];
    let said = refused(&up, &[&add[..], &["nobody"]].concat())?;
    ensure!(said.contains("api_token.tenant_id") && said.contains("tenant list"), "{said}");
    let viewer = done(&up, &[&add[..], &["acme"]].concat())?;
    ensure!(viewer.starts_with("hg_api_") && !viewer.contains(char::is_whitespace), "{viewer}");
    let listed = lines(&done(&up, &["token", "list", "--tenant", "acme", "--json"])?)?;
    ensure!(listed.len() == 1 && listed[0]["name"] == "wall screen", "{listed:?}");
    let id = listed[0]["id"].as_str().context("id")?;
    ensure!(!done(&up, &["token", "list"])?.contains(&viewer), "a list shows a secret");

    let tenants = lines(&done(&up, &["tenant", "list", "--json"])?)?;
    let acme = json!({ "tenant": "acme", "name": "Acme", "sites": 0, "api_tokens": 1 });
    ensure!(tenants.contains(&acme), "{tenants:?}");
    let said = refused(&up, &["tenant", "remove", "acme"])?;
    ensure!(said.contains("still has 1 API token") && said.contains(id), "{said}");

    // With the viewer's token through the query's own address, as from another machine.
    let elsewhere = |token: &str| {
        let mut command = heliograph(dir.path());
        command.args(["site", "list", "--query", &up.query]).env("HELIOGRAPH_TOKEN", token);
        up.output(command)
    };
    ensure!(elsewhere(&viewer)?.status.success(), "a viewer lists");
    done(&up, &["token", "revoke", id])?;
    let output = elsewhere(&viewer)?;
    ensure!(text(&output.stderr).contains("token is not known"), "{}", text(&output.stderr));
    done(&up, &["tenant", "remove", "acme"])?;

    let operators = lines(&done(&up, &["token", "list", "--json"])?)?;
    ensure!(operators.len() == 1, "{operators:?}");
    let last = operators[0]["id"].as_str().context("id")?;
    let said = refused(&up, &["token", "revoke", last])?;
    ensure!(said.contains("the last operator's token"), "{said}");
    up.stop()
}
