//! What the end-to-end tests share beside a running installation (`heliograph_testkit`).

use anyhow::{Context, ensure};
pub use heliograph_testkit::installation::{
    Authorized, Installation, OnLog, Process, Setup, binary, heliograph, ports_in_a_row,
    repository, terminate, text, wait_for,
};
use std::{
    fs,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// Runs each of these on either log: as `local::…` on the embedded one, as `kafka::…` on real
/// brokers. They are told which, and should not care.
macro_rules! on_either_log {
    ($($test:ident),+ $(,)?) => {
        mod local {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() -> anyhow::Result<()> {
                    super::$test(crate::support::OnLog::Local).await
                }
            )+
        }
        mod kafka {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() -> anyhow::Result<()> {
                    super::$test(crate::support::OnLog::Kafka).await
                }
            )+
        }
    };
}
pub(crate) use on_either_log;

/// The Python of the tests, with the packages that they need.
pub fn python() -> anyhow::Result<Command> {
    let env = Command::new("sh").arg(repository().join("scripts/python-env.sh")).output()?;
    ensure!(env.status.success(), "{}", String::from_utf8_lossy(&env.stderr));
    let mut python = Command::new(String::from_utf8(env.stdout)?.trim());
    python.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    Ok(python)
}

#[allow(clippy::expect_used, reason = "a test without a directory has failed")]
pub fn data_dir() -> TempDir {
    tempfile::tempdir().expect("a directory for the installation")
}

/// A line of a process's status, such as `VmRSS:    1234 kB`.
pub fn memory_bytes(pid: u32, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")).context("a size in kB")?;
    Ok(kib.parse::<u64>()? << 10)
}
