//! A file of upload tokens: a JSON object, site → token, readable by its owner only.

use anyhow::Context;
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The tokens of a file, and those that come to it.
pub struct TokensFile {
    path: PathBuf,
    pub tokens: BTreeMap<String, String>,
}

impl TokensFile {
    /// What the file holds; nothing when there is none. Sees to it that it can be written, before
    /// there is a token that would be lost.
    ///
    /// # Errors
    /// When it holds something else, or cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let tokens = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{shown}: want a JSON object, site → token"))?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        let file = Self { path: path.to_owned(), tokens };
        file.save()?;
        Ok(file)
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self) -> anyhow::Result<()> {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let write = || -> std::io::Result<()> {
            // One that was left over may have other rights.
            let _ = fs::remove_file(&fresh);
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(&self.tokens)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        };
        write().with_context(|| format!("write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_for_its_owner_only_and_keeps_what_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        fs::write(&path, r#"{"s1":"one"}"#).unwrap();
        let mut file = TokensFile::open(&path).unwrap();
        file.tokens.insert("s2".into(), "two".into());
        file.save().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = TokensFile::open(&path).unwrap();
        assert_eq!(again.tokens.len(), 2);
        fs::write(&path, "[]").unwrap();
        let error = TokensFile::open(&path).err().map(|e| e.to_string()).unwrap();
        assert!(error.contains("want a JSON object"), "{error}");
        let nowhere = TokensFile::open(&dir.path().join("no/where.json"));
        assert!(nowhere.is_err(), "found out before there is a token");
    }
}
