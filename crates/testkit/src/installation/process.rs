//! One process of an installation.

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A child process; `kill -9` when dropped. Its stdout and stderr go to files.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Runs `command`; what it says goes to `<dir>/<name>.stdout`, made anew, and to the end of
    /// `<dir>/<name>.stderr`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(mut command: Command, dir: &Path, name: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let stdout = dir.join(format!("{name}.stdout"));
        let stderr = dir.join(format!("{name}.stderr"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::options().create(true).append(true).open(&stderr)?)
            .spawn()
            .with_context(|| format!("{command:?}: is it built? cargo build --workspace"))?;
        Ok(Self { child, stdout, stderr })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on stdout.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it, and those of its name before it, wrote to stderr.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGSTOP: it stands still, with all its connections open.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&self) -> anyhow::Result<()> {
        signal(&self.child, Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> anyhow::Result<()> {
        signal(&self.child, Signal::CONT)
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Errors
    /// When it ends with another status than 0.
    pub fn leave(mut self) -> anyhow::Result<()> {
        let status = terminate(&mut self.child)?;
        ensure!(status.success(), "{} ended with {status}", self.stderr.display());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
    Ok(kill_process(pid, signal)?)
}

/// SIGTERM, and waits for the end.
///
/// # Errors
/// When it is gone.
pub fn terminate(child: &mut Child) -> anyhow::Result<ExitStatus> {
    signal(child, Signal::TERM)?;
    Ok(child.wait()?)
}
