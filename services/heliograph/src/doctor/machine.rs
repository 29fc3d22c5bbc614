//! What this machine tells of an installation: its directory, process, disk and limits. It is
//! looked at, never touched.

use super::facts::*;
use crate::endpoint::Endpoint;
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

pub(super) fn unreadable(path: &Path, error: impl ToString) -> Directory {
    Directory {
        path: path.display().to_string(),
        state: State::Unreadable(error.to_string()),
        endpoint: EndpointFacts::Missing,
        disk: Err(error.to_string()),
    }
}

pub(super) fn look(path: &Path) -> (Directory, Option<Endpoint>) {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let mut directory = unreadable(path, &error);
            if error.kind() == std::io::ErrorKind::NotFound {
                directory.state = State::Missing;
            }
            return (directory, None);
        }
    };
    if !metadata.is_dir() {
        return (Directory { state: State::NoDirectory, ..unreadable(path, "a file") }, None);
    }
    use rustix::fs::Access;
    let state = State::There {
        owner: metadata.uid(),
        we: rustix::process::geteuid().as_raw(),
        is_writable: rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        has_log: path.join("log").exists(),
    };
    let (endpoint, facts) = match Endpoint::read(path) {
        Ok(None) => (None, EndpointFacts::Missing),
        Err(error) => (None, EndpointFacts::Broken(format!("{error:#}"))),
        Ok(Some(endpoint)) => {
            let mode = std::fs::metadata(path.join("endpoint.json"))
                .map_or(0, |file| file.permissions().mode());
            let pid = endpoint.pid;
            let facts = EndpointFacts::There {
                pid,
                is_alive: is_alive(pid),
                others_read: mode & 0o077 != 0,
            };
            (Some(endpoint), facts)
        }
    };
    let disk = rustix::fs::statvfs(path).map_err(|error| error.to_string()).map(|stat| Disk {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: stat.f_files,
        inodes_free: stat.f_favail,
    });
    let directory = Directory { path: path.display().to_string(), state, endpoint: facts, disk };
    (directory, endpoint)
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        // It is there, and another user's.
        Err(error) => error == rustix::io::Errno::PERM,
    }
}

pub(super) fn engine() -> Result<String, String> {
    let found = heliograph_store::embedded::library();
    found.map(|path| path.display().to_string()).map_err(|error| error.to_string())
}

/// Of the running service, where there is one; else of whatever would be started from here.
pub(super) fn descriptors(pid: Option<u32>) -> Option<Descriptors> {
    let (name, whose) = match pid {
        Some(pid) => (pid.to_string(), format!("process {pid}")),
        None => ("self".to_owned(), "what is started here".to_owned()),
    };
    let limits = std::fs::read_to_string(format!("/proc/{name}/limits")).ok()?;
    Some(Descriptors { whose, soft_max: soft_files_max(&limits)? })
}

fn soft_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    let soft = line.split_whitespace().nth(3)?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read_as_linux_writes_it() {
        let limits = "Limit             Soft Limit     Hard Limit     Units\n\
                      Max processes     127000         127000         processes\n\
                      Max open files    1024           1048576        files\n";
        assert_eq!(soft_files_max(limits), Some(1024));
        assert_eq!(soft_files_max("Max open files  unlimited  unlimited  files"), Some(u64::MAX));
        assert_eq!(soft_files_max("Max processes 1 1"), None);
    }

    #[test]
    fn looking_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, endpoint) = look(dir.path());
        assert!(matches!(directory.state, State::There { has_log: false, is_writable: true, .. }));
        assert!(endpoint.is_none() && directory.disk.is_ok());
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
        assert!(matches!(look(&dir.path().join("no")).0.state, State::Missing));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(look(&dir.path().join("file")).0.state, State::NoDirectory));
    }

    #[test]
    fn this_process_is_alive_and_none_is_process_zero() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0) && !is_alive(u32::MAX));
    }
}
