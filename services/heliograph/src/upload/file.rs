//! Opens a CSV file, and says plainly what is wrong with one that is none.
//!
//! Invariant: what is read is UTF-8 with commas between its cells; nothing else is guessed. A
//! number with a decimal comma in a file with semicolons would be wrong by a factor, unseen.

use anyhow::bail;
use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
};

const AS_CSV: &str = "export it as CSV UTF-8, with commas between cells and decimal points";

/// # Errors
/// When it cannot be opened, or is no text in UTF-8 from its first bytes.
pub fn open(path: &Path) -> anyhow::Result<csv::Reader<File>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    // A directory opens, but cannot be read.
    file.by_ref().take(4).read_to_end(&mut start)?;
    match start.as_slice() {
        [b'P', b'K', ..] => bail!("got a zip file, this looks like Excel: {AS_CSV}"),
        [0xd0, 0xcf, 0x11, 0xe0] => bail!("this looks like an old Excel file: {AS_CSV}"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => bail!("got UTF-16, want UTF-8: {AS_CSV}"),
        _ => {}
    }
    file.rewind()?;
    Ok(csv::ReaderBuilder::new().flexible(true).from_reader(file))
}

/// The names of the columns.
///
/// # Errors
/// When they are not UTF-8, or something else than commas separates them.
pub fn headers(csv: &mut csv::Reader<File>) -> anyhow::Result<Vec<String>> {
    let headers: Vec<String> = csv.headers().map_err(in_utf8)?.iter().map(str::to_owned).collect();
    separated(&headers)?;
    Ok(headers)
}

/// Reads the next row; `false` at the end.
///
/// # Errors
/// When the file cannot be read, or is not UTF-8.
pub fn next(csv: &mut csv::Reader<File>, row: &mut csv::StringRecord) -> anyhow::Result<bool> {
    csv.read_record(row).map_err(in_utf8)
}

fn separated(headers: &[String]) -> anyhow::Result<()> {
    for (separator, name) in [(';', "semicolons"), ('\t', "tabs")] {
        let found: usize = headers.iter().map(|h| h.matches(separator).count()).sum();
        if found >= headers.len() {
            bail!("the header has {name}, not commas: {AS_CSV}");
        }
    }
    Ok(())
}

/// How to make UTF-8 of it, where it is not.
fn in_utf8(error: csv::Error) -> anyhow::Error {
    let is_utf8 = !matches!(error.kind(), csv::ErrorKind::Utf8 { .. });
    let line = error.position().map_or(1, csv::Position::line);
    let error = anyhow::Error::from(error);
    match is_utf8 {
        true => error,
        false => error.context(format!(
            "line {line} is not UTF-8: `iconv -f latin1 -t utf8 FILE >NEW.csv` makes it so (of \
             Japanese Excel: -f cp932)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> anyhow::Result<usize> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), bytes)?;
        let mut csv = open(file.path())?;
        headers(&mut csv)?;
        let (mut rows, mut row) = (0, csv::StringRecord::new());
        while next(&mut csv, &mut row)? {
            rows += 1;
        }
        Ok(rows)
    }

    #[test]
    fn what_is_no_csv_in_utf8_says_how_to_make_it_so() {
        let rows: &[(&str, &[u8], Result<usize, &str>)] = &[
            ("commas", b"t,P [kW]\n1,2\n3,4\n", Ok(2)),
            ("a byte order mark", b"\xef\xbb\xbft,P\n1,2\n", Ok(1)),
            ("a semicolon in a name", b"t,P; max,Q\n1,2,3\n", Ok(1)),
            ("one column", b"t\n1\n", Ok(1)),
            ("semicolons", b"t;P;Q\n1;2,5;3\n", Err("has semicolons, not commas: export it")),
            ("both", b"t;P, Q;R;S\n1;2;3;4\n", Err("the header has semicolons")),
            ("tabs", b"t\tP\n1\t2\n", Err("the header has tabs, not commas")),
            ("Excel", b"PK\x03\x04\x14\0", Err("this looks like Excel: export it as CSV UTF-8")),
            ("old Excel", b"\xd0\xcf\x11\xe0\xa1", Err("old Excel")),
            ("UTF-16", b"\xff\xfet\0", Err("got UTF-16, want UTF-8")),
            ("a header in Latin 1", b"t,\xb0C\n1,2\n", Err("line 1 is not UTF-8: `iconv -f")),
            ("a cell in Latin 1", b"t,P\n1,2\n1,\xb0\n", Err("line 3 is not UTF-8: `iconv -f")),
        ];
        for (name, bytes, want) in rows {
            match (read(bytes), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, *want, "{name}"),
                (Err(got), Err(want)) => {
                    let got = format!("{got:#}");
                    assert!(got.contains(want), "{name}: {got}");
                }
                (got, want) => panic!("{name}: {got:?}, want {want:?}"),
            }
        }
    }
}
