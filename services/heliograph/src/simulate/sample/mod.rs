//! The sample data: CSV files of real plants, read through one table of columns.
//!
//! Invariant: a cell that is missing gives no reading; every other cell gives exactly the number
//! that the file says. The files are part of the binary, so that it works anywhere.

mod parse;
mod table;

pub use parse::{Row, SampleSeries};
pub use table::FILES;

use anyhow::Context;
use std::{path::Path, sync::Arc};

/// Zone of every sample file: UTC−7 all year (POSIX turns the sign round).
pub const ZONE: &str = "Etc/GMT+7";
/// Local time is UTC plus this.
pub const ZONE_OFFSET_MS: i64 = -7 * 60 * 60 * 1_000;

/// One column of a file: one series.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    pub header: &'static str,
    pub device: &'static str,
    pub metric: &'static str,
    /// The unit of the file; `None` for a metric that has no stored unit.
    pub unit: Option<&'static str>,
}

impl Column {
    /// Whether the value grows with the size of the plant. Weather, temperatures and voltages do
    /// not.
    pub fn scales(&self) -> bool {
        matches!(
            self.metric,
            "ac_power" | "ac_current" | "ac_energy_total" | "dc_power" | "dc_current"
        )
    }
}

/// One file and the site that it becomes.
#[derive(Debug)]
pub struct SampleFile {
    pub file: &'static str,
    embedded: &'static str,
    pub site: &'static str,
    /// Shown to people.
    pub name: &'static str,
    pub reading_interval_s: u32,
    pub upload_interval_s: u32,
    /// Estimated from the data.
    pub rated_power_w: f64,
    pub columns: &'static [Column],
}

impl SampleFile {
    /// The file's rows: those of `dir` when one is given, else those in the binary.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a column, or has a cell that is neither empty nor a
    /// number.
    pub fn load(&'static self, dir: Option<&Path>) -> anyhow::Result<SampleSeries> {
        let read;
        let text = match dir {
            Some(dir) => {
                let path = dir.join(self.file);
                read = std::fs::read_to_string(&path)
                    .with_context(|| format!("sample file {}", path.display()))?;
                read.as_str()
            }
            None => self.embedded,
        };
        parse::series(text, self.columns).with_context(|| format!("sample file {}", self.file))
    }
}

/// All sample files with their rows, in the order of [`FILES`].
///
/// # Errors
/// As [`SampleFile::load`].
pub fn load_all(
    dir: Option<&Path>,
) -> anyhow::Result<Vec<(&'static SampleFile, Arc<SampleSeries>)>> {
    FILES.iter().map(|f| Ok((f, Arc::new(f.load(dir)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_domain::{DeviceId, MetricName, unit};

    #[test]
    fn every_file_is_read_with_all_its_cells() {
        // Rows and cells counted in the files themselves, without this code.
        let rows = [
            ("nrel-rsf2", 480, 480 * 12),
            ("rmis-weather", 1_151, 1_151 * 12 - 12 * 4),
            ("serf-east", 2_607, 2_607),
            ("serf-west", 480, 480 * 15),
            ("snow", 576, 576 * 6 - 3 * 343),
        ];
        let got: Vec<_> = load_all(None)
            .unwrap()
            .iter()
            .map(|(f, s)| (f.site, s.rows.len(), s.rows.iter().map(|r| r.cells.len()).sum()))
            .collect();
        assert_eq!(got, rows);
    }

    #[test]
    fn cells_are_what_the_file_says() {
        let load = |i: usize| FILES[i].load(None).unwrap();
        let nrel = load(0);
        // 2022-01-02 00:00 at UTC−7.
        assert_eq!(nrel.rows[0].ts_ms, 1_641_106_800_000);
        assert_eq!(nrel.rows[0].cells[6], (6, -9.039494));
        let east = load(2);
        assert_eq!(east.rows[0].ts_ms, 1_647_603_180_000);
        assert_eq!(east.rows[0].cells, [(0, -2.7098)], "a negative night value is kept");
        let snow = load(4);
        let first: Vec<usize> = snow.rows[0].cells.iter().map(|c| c.0).collect();
        assert_eq!(first, [0, 4, 5], "the combiner's cells of the first row are missing");
    }

    #[test]
    fn every_column_can_be_sent() {
        for file in FILES {
            for c in file.columns {
                assert!(DeviceId::parse(c.device).is_ok() && MetricName::parse(c.metric).is_ok());
                assert!(unit::to_stored(c.metric, 1.0, c.unit).is_ok(), "{}", c.header);
                assert_eq!(unit::stored_unit(c.metric).is_some(), c.unit.is_some(), "{}", c.header);
            }
        }
    }

    #[test]
    fn a_directory_is_read_instead_of_the_binary() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join(FILES[2].file);
        std::fs::write(wanted, "measured_on,ac_power__752\n2022-03-18 00:00:00-07:00,1.5\n")
            .unwrap();
        assert_eq!(FILES[2].load(Some(dir.path())).unwrap().rows[0].cells, [(0, 1.5)]);
        let missing = FILES[0].load(Some(dir.path())).unwrap_err();
        assert!(format!("{missing:#}").contains("nrel_RSF_II.csv"), "{missing:#}");
    }
}
