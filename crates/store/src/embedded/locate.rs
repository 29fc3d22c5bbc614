//! Where `libchdb.so` is: named in the configuration, in the environment, or fetched by the script.

use std::env;
use std::path::{Path, PathBuf};

use super::EmbedError;

/// Names the library when the configuration does not.
pub const LIBRARY_ENV: &str = "HELIOGRAPH_LIBCHDB";

/// Where `scripts/fetch-libchdb.sh` puts it, relative to the top of the working tree.
const FETCHED: &str = ".tools/chdb/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so";

/// Who names a file and is wrong is told so; only when nobody names one is it looked for.
pub(super) fn libchdb(configured: Option<&Path>) -> Result<PathBuf, EmbedError> {
    if let Some(path) = configured {
        return existing(path.to_owned(), "the configuration");
    }
    if let Some(path) = env::var_os(LIBRARY_ENV).filter(|path| !path.is_empty()) {
        return existing(PathBuf::from(path), LIBRARY_ENV);
    }
    let starts: Vec<PathBuf> =
        [env::current_dir().ok(), env::current_exe().ok()].into_iter().flatten().collect();
    search(&starts)
}

/// Where the library is that an embedded store of this process would load.
///
/// # Errors
/// When there is none; says how to get it.
pub fn library() -> Result<PathBuf, EmbedError> {
    libchdb(None)
}

fn existing(path: PathBuf, named_by: &str) -> Result<PathBuf, EmbedError> {
    if path.is_file() {
        return Ok(path);
    }
    let searched = format!("{} (named by {named_by})", path.display());
    Err(EmbedError::LibraryMissing { searched })
}

fn search(starts: &[PathBuf]) -> Result<PathBuf, EmbedError> {
    let mut candidates = starts.iter().flat_map(|start| start.ancestors()).map(|d| d.join(FETCHED));
    candidates.find(|candidate| candidate.is_file()).ok_or_else(|| EmbedError::LibraryMissing {
        searched: format!(
            "{FETCHED} in {} and above",
            starts.iter().map(|s| s.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_the_script_that_fetches_it() {
        let error = libchdb(Some(Path::new("/nowhere/libchdb.so"))).expect_err("no such file");
        let text = error.to_string();
        assert!(text.contains("/nowhere/libchdb.so"), "{text}");
        assert!(text.contains("scripts/fetch-libchdb.sh"), "{text}");
    }

    #[test]
    fn the_fetched_library_is_found_from_any_directory_below() {
        let top = tempfile::tempdir().expect("temp dir");
        let below = top.path().join("target/debug/deps");
        std::fs::create_dir_all(&below).expect("dirs");
        assert!(search(std::slice::from_ref(&below)).is_err());
        let fetched = top.path().join(FETCHED);
        std::fs::create_dir_all(fetched.parent().expect("parent")).expect("dirs");
        std::fs::write(&fetched, b"").expect("file");
        assert_eq!(search(&[below]).expect("found"), fetched);
    }
}
