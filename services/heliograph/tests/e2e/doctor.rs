//! `heliograph doctor` on a running installation, a stopped one, a broken one, and none.

use crate::support::{Installation, OnLog, data_dir, heliograph};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::Path;

/// Exit status and findings.
fn doctor(data_dir: &Path, args: &[&str]) -> anyhow::Result<(Option<i32>, Vec<Value>)> {
    let output = heliograph(data_dir).args(["doctor", "--json"]).args(args).output()?;
    let said = String::from_utf8(output.stdout)?;
    let findings = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((output.status.code(), findings))
}

fn finding<'f>(findings: &'f [Value], check: &str) -> anyhow::Result<&'f Value> {
    let found = findings.iter().find(|f| f["check"] == check);
    found.with_context(|| format!("no {check} in {findings:#?}"))
}

fn says(findings: &[Value], check: &str, verdict: &str, words: &str) -> anyhow::Result<()> {
    let finding = finding(findings, check)?;
    let text = format!("{} {}", finding["found"], finding["mend"]);
    ensure!(finding["verdict"] == verdict && text.contains(words), "{words}: {finding}");
    Ok(())
}

#[test]
fn it_says_what_is_wrong_and_how_to_mend_it() -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(OnLog::Local, dir.path())?;
    let (status, findings) = doctor(dir.path(), &[])?;
    ensure!(status == Some(0), "{findings:#?}");
    for check in [
        "configuration",
        "data directory",
        "process",
        "engine library",
        "gateway",
        "query",
        "token",
        "clickhouse",
        "tables",
        "topics",
        "clock",
        "versions",
    ] {
        ensure!(finding(&findings, check)?["verdict"] == "ok", "{findings:#?}");
    }
    // The writer may not have committed yet; room and open files are this machine's affair.
    for check in ["writer", "disk", "open files"] {
        finding(&findings, check)?;
    }
    ensure!(!format!("{findings:?}").contains(&up.operator_token), "the token is not shown");

    let wrong = ["--query", &up.query.clone(), "--token", "hg_wrong"];
    let (status, findings) = doctor(dir.path(), &wrong)?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "token", "fail", "does not take it")?;
    let right = ["--query", &up.query.clone(), "--token", &up.operator_token.clone()];
    let (status, findings) = doctor(dir.path(), &right)?;
    ensure!(status == Some(0), "{findings:#?}");
    says(&findings, "topics", "ok", "as declared")?;

    up.stop()?;
    let (status, findings) = doctor(dir.path(), &[])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "process", "fail", "heliograph up --data-dir")?;
    let failed = findings.iter().filter(|f| f["verdict"] == "fail").count();
    ensure!(failed == 1, "one cause, one FAIL: {findings:#?}");

    std::fs::write(dir.path().join("endpoint.json"), "{")?;
    let (status, findings) = doctor(dir.path(), &[])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "process", "fail", "endpoint.json is not what")?;
    Ok(())
}

#[test]
fn it_makes_no_installation_and_answers_when_everything_is_down() -> anyhow::Result<()> {
    let dir = data_dir();
    let (status, findings) = doctor(dir.path(), &[])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "data directory", "fail", "holds no installation")?;
    ensure!(std::fs::read_dir(dir.path())?.next().is_none(), "nothing was made");

    // A cluster of which nothing answers: port 1 refuses.
    let config = dir.path().join("h.toml");
    let text = "[log.kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n[store]\n\
                url = \"http://127.0.0.1:1\"\n[gateway]\nlisten = \"127.0.0.1:1\"\n\
                [query]\nlisten = \"0.0.0.0:1\"\n";
    std::fs::write(&config, text)?;
    let config = config.to_str().context("a path in UTF-8")?;
    let (status, findings) = doctor(dir.path(), &["--config", config])?;
    ensure!(status == Some(1), "{findings:#?}");
    for check in ["gateway", "query", "clickhouse", "log"] {
        says(&findings, check, "fail", "does not answer")?;
    }
    let output = heliograph(dir.path()).args(["doctor", "--config", config]).output()?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(said.lines().count() == findings.len() && said.contains("FAIL  gateway"), "{said}");
    Ok(())
}
