//! `--config` and `--check`, the same for every binary.

use crate::{Config, ConfigError, Reader};
use std::{io::Write, path::PathBuf};

/// What `--check` says on stdout when there is no mistake.
pub const SOUND: &str = "configuration is sound";

#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (docs/heliograph.toml lists every key); HELIOGRAPH_SECTION__KEY in the
    /// environment overrides it.
    #[arg(long, value_name = "FILE", env = "HELIOGRAPH_CONFIG")]
    pub config: Option<PathBuf>,
    /// Check the whole configuration and end: status 0, or 64 and a line for each mistake.
    #[arg(long)]
    pub check: bool,
}

impl ConfigArgs {
    /// The configuration to run on; `None` when it was only to be checked and is sound.
    ///
    /// # Errors
    /// With every mistake.
    pub fn load(&self, reader: Reader) -> Result<Option<Config>, ConfigError> {
        if !self.check {
            return reader.load(self.config.as_deref()).map(Some);
        }
        reader.check(self.config.as_deref())?;
        // Whoever closed our output goes by the status.
        let _ = writeln!(std::io::stdout(), "{SOUND}");
        Ok(None)
    }
}
