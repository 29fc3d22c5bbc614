//! A full disk under the embedded pair: a small file system of the test's own.

use super::{PATIENCE, audited, knock, told_to_keep, until};
use crate::fleet::Fleet;
use crate::support::{Installation, OnLog, Setup, data_dir, ports_in_a_row};
use anyhow::{Context, ensure};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// The embedded log refuses below 512 MiB; this leaves it a few hundred more.
const DISK_MIB: usize = 900;
/// Leaves less than that, and more than nothing.
const HALF_MIB: usize = 550;
const UPLOADS: u64 = 100;

/// A file system in memory; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(at)?;
        let size = format!("size={DISK_MIB}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "heliograph-test"])
            .arg(at)
            .output()?;
        let said = String::from_utf8_lossy(&mount.stderr);
        ensure!(
            mount.status.success(),
            "this test fills a file system of its own and has to mount it, as root or with \
             CAP_SYS_ADMIN: {said}"
        );
        Ok(Self(at.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Adds up to `mib` to the ballast; ends early when the disk is full.
    fn fill(&self, mib: usize) -> anyhow::Result<()> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        let piece = vec![1; 1 << 20];
        for _ in 0..mib {
            match file.write_all(&piece) {
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                written => written?,
            }
        }
        Ok(())
    }

    fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

async fn refuses(up: &Installation, token: &str, when: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !told_to_keep(up, token, "own").await? {
        ensure!(Instant::now() < end, "{when}: still accepted");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_uploads_and_goes_on_by_itself_when_there_is_room() -> anyhow::Result<()>
{
    let dir = data_dir();
    let disk = Disk::mount(&dir.path().join("disk"))?;
    // It starts again where the loggers know it.
    let ports = ports_in_a_row(Setup::ports())?;
    let mut up = Setup::new(OnLog::Local, &disk.0.join("data")).port_base(ports).start()?;
    let token = up.add_site("own", "Asia/Tokyo")?;
    let fleet = Fleet::start(
        &up,
        dir.path(),
        10,
        &["--speed", "5000", "--concurrency", "4", "--request-timeout", "20s"],
    )?;
    let more = |from: u64| fleet.accepted() >= from + UPLOADS;
    until("the loggers", || more(0))?;

    for (when, mib) in [("nearly full", HALF_MIB), ("full to the last byte", DISK_MIB)] {
        disk.fill(mib)?;
        refuses(&up, &token, when).await?;
        let refused = fleet.refused("503");
        until(&format!("{when}: loggers are refused"), || fleet.refused("503") > refused)?;
        disk.free()?;
        let accepted = fleet.accepted();
        until(&format!("room after {when}: uploads"), || more(accepted))?;
    }
    ensure!(knock(&up, &token, "own").await?.status() == 200);

    // Whoever stops at a full disk starts again when there is room.
    disk.fill(DISK_MIB)?;
    refuses(&up, &token, "full again").await?;
    up.kill("up")?;
    disk.free()?;
    up.spawn("up").context("start again")?;
    up.wait_ready()?;
    let seen = fleet.seen();
    ensure!(seen["uploads_dropped"] == 0, "{seen}");
    audited(&up, fleet)?;
    up.stop()
}
