//! `<data-dir>/endpoint.json`: where a running `heliograph up` is found, and the operator's token.
//!
//! Readable by its owner only. It outlives the process that wrote it: the token stays, the
//! addresses are void when nobody answers there.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const FILE: &str = "endpoint.json";

/// Addresses of one installation on one machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoint {
    pub gateway: String,
    pub query: String,
    pub clickhouse: String,
    /// Metrics and health; files of earlier versions have none.
    #[serde(default)]
    pub ops: String,
    /// API token of role operator, made at the first start.
    pub operator_token: String,
    /// The process that wrote this.
    pub pid: u32,
}

impl Endpoint {
    /// What the last `up` in this directory wrote; `None` when there was none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(data_dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let endpoint = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what `heliograph up` writes", path.display()))?;
        Ok(Some(endpoint))
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let path = path(data_dir);
        let fresh = path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_for_its_owner_only_and_comes_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Endpoint::read(dir.path()).unwrap().is_none());
        let endpoint = Endpoint {
            gateway: "http://127.0.0.1:1".into(),
            query: "http://127.0.0.1:2".into(),
            ops: String::new(),
            clickhouse: "http://127.0.0.1:3".into(),
            operator_token: "secret".into(),
            pid: 7,
        };
        endpoint.write(dir.path()).unwrap();
        let mode = fs::metadata(path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let back = Endpoint::read(dir.path()).unwrap().unwrap();
        assert_eq!(back.operator_token, "secret");
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(dir.path()), "{").unwrap();
        let error = format!("{:#}", Endpoint::read(dir.path()).unwrap_err());
        assert!(error.contains("endpoint.json"), "{error}");
    }
}
