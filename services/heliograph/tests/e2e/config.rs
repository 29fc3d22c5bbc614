//! `--check` and `heliograph config`, as processes.

use crate::support;
use anyhow::ensure;
use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// The program in a directory of its own, with nothing of ours in its environment.
fn run(dir: &Path, binary: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Output> {
    let path = support::binary(binary);
    ensure!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    let mut command = Command::new(path);
    command.args(args).current_dir(dir).env_clear().envs(env.iter().copied());
    Ok(command.stdin(Stdio::null()).output()?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const BAD: &str = "[gatway]\n[gateway]\nlisten = \"here\"\n[writer]\nblock_rows_max = 0\n";
/// What every binary says of it.
const SAID: [&str; 3] = [
    "error: gatway: got an unknown section, want a known one: did you mean gateway? \
     (line 1 of h.toml)",
    "error: gateway.listen: got \"here\", want an IP address and a port, such as 127.0.0.1:8080 or \
     [::]:8080 (line 3 of h.toml)",
    "error: writer.block_rows_max: got 0, want 1 to 1000000 (line 5 of h.toml)",
];

#[test]
fn every_binary_checks_the_whole_file_and_starts_nothing() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("h.toml"), BAD)?;
    std::fs::write(dir.path().join("good.toml"), "[log.kafka]\nbootstrap_servers = \"k:9092\"\n")?;
    for (binary, command) in [
        ("heliograph", &["up"][..]),
        ("heliograph", &["migrate"]),
        ("heliograph", &["config"]),
        ("heliograph-gateway", &[]),
        ("heliograph-writer", &[]),
        ("heliograph-query", &[]),
    ] {
        let check = |file| {
            run(dir.path(), binary, &[command, &["--check", "--config", file]].concat(), &[])
        };
        let bad = check("h.toml")?;
        ensure!(bad.status.code() == Some(64), "{binary} {command:?}: {bad:?}");
        let said = stderr(&bad);
        for want in SAID {
            ensure!(said.lines().any(|line| line == want), "{binary} {command:?}: {said}");
        }
        let good = check("good.toml")?;
        let out = String::from_utf8_lossy(&good.stdout);
        ensure!(good.status.success() && out == "configuration is sound\n", "{binary}: {good:?}");
    }
    ensure!(!dir.path().join("data").exists(), "a check makes no installation");
    Ok(())
}

#[test]
fn services_of_their_own_want_a_broker_and_up_does_not() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let gateway = run(dir.path(), "heliograph-gateway", &["--check"], &[])?;
    ensure!(gateway.status.code() == Some(64), "{gateway:?}");
    ensure!(stderr(&gateway).contains("log.kafka.bootstrap_servers: got \"\", want host:port"));
    ensure!(run(dir.path(), "heliograph", &["up", "--check"], &[])?.status.success());
    ensure!(run(dir.path(), "heliograph", &["config", "--check"], &[])?.status.success());
    Ok(())
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let env = [("HELIOGRAPH_GATEWAY__READINGS_MAX", "many")];
    let output = run(dir.path(), "heliograph", &["up"], &env)?;
    ensure!(output.status.code() == Some(64), "{output:?}");
    ensure!(
        stderr(&output).lines().any(|line| line
            == "error: gateway.readings_max: got \"many\", want a whole number, 0 or more \
                (environment HELIOGRAPH_GATEWAY__READINGS_MAX)"),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn what_is_printed_loads_again_and_holds_no_secret() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let env = [("HELIOGRAPH_STORE__PASSWORD", "5318008"), ("HELIOGRAPH_QUERY__POINTS_MAX", "5000")];
    for args in [&["config"][..], &["config", "--json"]] {
        let output = run(dir.path(), "heliograph", args, &env)?;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{output:?}");
        ensure!(out.contains("***") && out.contains("environment HELIOGRAPH_STORE__PASSWORD"));
        ensure!(!out.contains("5318008") && !stderr(&output).contains("5318008"), "{out}");
    }
    let printed = run(dir.path(), "heliograph", &["config"], &env[1..])?;
    std::fs::write(dir.path().join("printed.toml"), &printed.stdout)?;
    let again = run(dir.path(), "heliograph", &["config", "--config", "printed.toml"], &[])?;
    let values = |output: &Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.split("  # ").next().unwrap_or(line).to_owned()).collect()
    };
    ensure!(again.status.success() && values(&again) == values(&printed), "{again:?}");
    Ok(())
}
