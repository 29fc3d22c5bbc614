//! A file of sites, CSV with a header or JSON lines, read without stopping at the first mistake.
//!
//! Pure: text in, rows and mistakes out. What needs the registry is checked by `import`.

use heliograph_contract::{registry, v1::Site};
use heliograph_domain::Violation;
use serde_json::{Map, Value};
use std::{collections::HashMap, fmt};

/// Rows of one file.
const ROWS_MAX: usize = 100_000;
const COLUMNS: [&str; 8] = [
    "id",
    "tenant",
    "name",
    "zone",
    "upload_interval_s",
    "reading_interval_s",
    "rated_power_w",
    "stale_after_s",
];
const UPLOAD_INTERVAL_S: u32 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values; the first line names the columns.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// One site and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub line: u64,
    pub site: Site,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub line: u64,
    /// Its field is the column.
    pub violation: Violation,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { field, got, want } = &self.violation;
        match field.as_str() {
            "" => write!(f, "line {}: got {got}, want {want}", self.line),
            column => write!(f, "line {}, column {column}: got {got}, want {want}", self.line),
        }
    }
}

/// Reads all rows; what is wrong with any of them is in the mistakes.
pub fn parse(text: &str, format: Format) -> (Vec<Row>, Vec<Mistake>) {
    // Spreadsheets put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reading = Reading::default();
    match format {
        Format::Csv => reading.csv(text),
        Format::Jsonl => reading.jsonl(text),
    }
    if reading.rows.is_empty() && reading.mistakes.is_empty() {
        reading.mistake(1, "", "no site", "at least one");
    }
    (reading.rows, reading.mistakes)
}

#[derive(Default)]
struct Reading {
    rows: Vec<Row>,
    mistakes: Vec<Mistake>,
    /// Id → the line that has it.
    ids: HashMap<String, u64>,
}

impl Reading {
    fn mistake(&mut self, line: u64, column: &str, got: impl fmt::Display, want: &str) {
        self.mistakes.push(Mistake { line, violation: Violation::new(column, got, want) });
    }

    fn csv(&mut self, text: &str) {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut header: Option<Vec<String>> = None;
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let line = error.position().map_or(1, csv::Position::line);
                    self.mistake(line, "", error, "comma-separated values");
                    continue;
                }
            };
            let line = record.position().map_or(1, |at| line_of(text, at));
            let cells: Vec<String> = record.iter().map(str::to_owned).collect();
            let Some(columns) = &header else {
                if !self.header(line, &cells) {
                    return;
                }
                header = Some(cells);
                continue;
            };
            if cells.len() != columns.len() {
                let want = format!("{}, as in the header", columns.len());
                self.mistake(line, "", format_args!("{} cells", cells.len()), &want);
                continue;
            }
            let filled = columns.iter().cloned().zip(cells).filter(|(_, cell)| !cell.is_empty());
            let object = filled.map(|(column, cell)| (column, Value::String(cell))).collect();
            if !self.row(line, object) {
                return;
            }
        }
    }

    /// Whether the rows below the header can be read at all.
    fn header(&mut self, line: u64, columns: &[String]) -> bool {
        let before = self.mistakes.len();
        for (i, column) in columns.iter().enumerate() {
            if !COLUMNS.contains(&column.as_str()) {
                let want = format!("columns of {}", COLUMNS.join(", "));
                self.mistake(line, "", format_args!("column {column:?}"), &want);
            } else if columns[..i].contains(column) {
                self.mistake(line, column, "the column twice", "it once");
            }
        }
        for column in ["id", "tenant", "zone"] {
            if !columns.iter().any(|c| c == column) {
                self.mistake(line, column, "no such column", "it in the header");
            }
        }
        before == self.mistakes.len()
    }

    fn jsonl(&mut self, text: &str) {
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let object = match serde_json::from_str::<Map<String, Value>>(text) {
                Ok(object) => object,
                Err(error) => {
                    self.mistake(line, "", error, "one JSON object a line");
                    continue;
                }
            };
            let mut known = Map::new();
            for (key, value) in object {
                match COLUMNS.contains(&key.as_str()) {
                    true if value.is_null() => {}
                    true => drop(known.insert(key, value)),
                    false => {
                        let want = format!("keys of {}", COLUMNS.join(", "));
                        self.mistake(line, "", format_args!("key {key:?}"), &want);
                    }
                }
            }
            if !self.row(line, known) {
                return;
            }
        }
    }

    /// Takes one row; whether there may be more.
    fn row(&mut self, line: u64, cells: Map<String, Value>) -> bool {
        if self.rows.len() >= ROWS_MAX {
            let want = format!("at most {ROWS_MAX} in a file");
            self.mistake(line, "", "one more site", &want);
            return false;
        }
        let mut cells = Cells { cells, wrong: Vec::new() };
        let id = cells.text("id");
        let upload_interval_s = cells.seconds("upload_interval_s");
        let reading_interval_s = cells.seconds("reading_interval_s");
        let site = Site {
            tenant_id: cells.text("tenant").unwrap_or_default(),
            name: cells.optional_text("name").or_else(|| id.clone()).unwrap_or_default(),
            zone: cells.text("zone").unwrap_or_default(),
            upload_interval_s: upload_interval_s.unwrap_or(UPLOAD_INTERVAL_S),
            reading_interval_s: reading_interval_s
                .or(upload_interval_s)
                .unwrap_or(UPLOAD_INTERVAL_S),
            rated_power_w: cells.number("rated_power_w").unwrap_or_default(),
            stale_after_s: cells.seconds("stale_after_s").unwrap_or_default(),
            id: id.unwrap_or_default(),
            ..Default::default()
        };
        let mut wrong = cells.wrong;
        let mut broken = broken_rules(&site);
        // What is missing is said already.
        broken.retain(|v| !wrong.iter().any(|said| said.field == v.field));
        wrong.extend(broken);
        self.mistakes.extend(wrong.into_iter().map(|violation| Mistake { line, violation }));
        if let Some(first) = self.ids.insert(site.id.clone(), line).filter(|_| !site.id.is_empty())
        {
            let want = format!("an id that no other line has; line {first} has it");
            self.mistake(line, "id", format_args!("{:?}", site.id), &want);
        }
        self.rows.push(Row { line, site });
        true
    }
}

/// The line on which a record begins. The reader's own position is before the line ends that it
/// passes over: those of empty lines, and the second half of a CRLF.
fn line_of(text: &str, at: &csv::Position) -> u64 {
    let rest = usize::try_from(at.byte()).ok().and_then(|byte| text.get(byte..)).unwrap_or("");
    let passed_over = rest.chars().take_while(|c| matches!(c, '\r' | '\n'));
    at.line() + passed_over.filter(|c| *c == '\n').count() as u64
}

/// The cells of a row that are there.
struct Cells {
    cells: Map<String, Value>,
    wrong: Vec<Violation>,
}

impl Cells {
    fn optional_text(&mut self, column: &str) -> Option<String> {
        match self.cells.remove(column)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong.push(Violation::new(column, other, "text"));
                None
            }
        }
    }

    fn text(&mut self, column: &str) -> Option<String> {
        if !self.cells.contains_key(column) {
            self.wrong.push(Violation::new(column, "nothing", format!("a {column}")));
        }
        self.optional_text(column)
    }

    fn seconds(&mut self, column: &str) -> Option<u32> {
        let value = self.cells.remove(column)?;
        let seconds = match &value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| u32::try_from(n).ok()),
        };
        if seconds.is_none() {
            let want = match column {
                "stale_after_s" => "seconds, 0 for three upload intervals",
                _ => "1 to 86400 seconds",
            };
            self.wrong.push(Violation::new(column, value, want));
        }
        seconds
    }

    fn number(&mut self, column: &str) -> Option<f64> {
        let value = self.cells.remove(column)?;
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        };
        if number.is_none() {
            self.wrong.push(Violation::new(column, value, "W, 0 when unknown"));
        }
        number
    }
}

/// Every field of a site that breaks a rule by itself, under its column's name: each is tried in a
/// site that is sound but for it, since a check ends at the first.
fn broken_rules(site: &Site) -> Vec<Violation> {
    let sound = || Site {
        id: "s".to_owned(),
        tenant_id: "t".to_owned(),
        zone: "UTC".to_owned(),
        upload_interval_s: 60,
        reading_interval_s: 60,
        ..Default::default()
    };
    let s = site.clone();
    let tries = [
        ("id", Site { id: s.id, ..sound() }),
        ("tenant", Site { tenant_id: s.tenant_id, ..sound() }),
        ("zone", Site { zone: s.zone, ..sound() }),
        ("upload_interval_s", Site { upload_interval_s: s.upload_interval_s, ..sound() }),
        ("reading_interval_s", Site { reading_interval_s: s.reading_interval_s, ..sound() }),
        ("rated_power_w", Site { rated_power_w: s.rated_power_w, ..sound() }),
        (
            "stale_after_s",
            // Held against its own interval, where that is none of the mistakes.
            Site {
                stale_after_s: s.stale_after_s,
                upload_interval_s: s.upload_interval_s.clamp(1, 86_400),
                ..sound()
            },
        ),
    ];
    let broken = |(column, one): (&str, Site)| {
        let violation = registry::site(one).err()?;
        Some(Violation { field: column.to_owned(), ..violation })
    };
    let mut violations: Vec<Violation> = tries.into_iter().filter_map(broken).collect();
    violations.extend(registry::check_name("name", &site.name).err());
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, format: Format) -> Vec<String> {
        parse(text, format).1.iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn both_formats_say_the_same() {
        let csv = "\u{feff}id, tenant,name,zone,upload_interval_s,rated_power_w\n\
                   s1,t1,\"Roof, north\",Asia/Tokyo,300,49500\n\ns2,t1,,UTC,,\n";
        let jsonl = concat!(
            r#"{"id":"s1","tenant":"t1","name":"Roof, north","zone":"Asia/Tokyo","#,
            r#""upload_interval_s":300,"rated_power_w":49500}"#,
            "\n\n",
            r#"{"id":"s2","tenant":"t1","zone":"UTC","name":null}"#
        );
        let (from_csv, wrong) = parse(csv, Format::Csv);
        assert_eq!(wrong, []);
        let (from_jsonl, wrong) = parse(jsonl, Format::Jsonl);
        assert_eq!(wrong, []);
        let sites = |rows: &[Row]| rows.iter().map(|r| r.site.clone()).collect::<Vec<_>>();
        assert_eq!(sites(&from_csv), sites(&from_jsonl));
        assert_eq!(from_csv[1].line, 4, "an empty line is no site, but counts");
        let (crlf, wrong) = parse(&csv.replace('\n', "\r\n"), Format::Csv);
        assert_eq!((crlf, wrong), (from_csv.clone(), vec![]), "line ends of another system");
        let first = &from_csv[0].site;
        assert_eq!((first.reading_interval_s, first.rated_power_w), (300, 49_500.0));
        assert_eq!((&*from_csv[1].site.name, from_csv[1].site.upload_interval_s), ("s2", 60));
    }

    #[test]
    fn every_mistake_is_named_with_line_column_got_and_want() {
        let csv = "id,tenant,zone,upload_interval_s,rated_power_w,name\n\
                   s 1,,Mars/Olympus,0,-5,ok\n\
                   s2,t1,UTC,often,many,\n\
                   s2,t1,UTC,60,0,\n\
                   s3,t1\n";
        let got = mistakes(csv, Format::Csv);
        let want = [
            "line 2, column tenant: got nothing, want a tenant",
            "line 2, column id: got \"s 1\", want 1 to 64",
            "line 2, column zone: got \"Mars/Olympus\", want",
            "line 2, column upload_interval_s: got 0, want 1 to 86400 seconds",
            "line 2, column reading_interval_s: got 0, want 1 to 86400 seconds",
            "line 2, column rated_power_w: got -5, want W, 0 when unknown",
            "line 3, column upload_interval_s: got \"often\", want 1 to 86400 seconds",
            "line 3, column rated_power_w: got \"many\", want W, 0 when unknown",
            "line 4, column id: got \"s2\", want an id that no other line has; line 3 has it",
            "line 5: got 2 cells, want 6, as in the header",
        ];
        assert_eq!(got.len(), want.len(), "{got:#?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.starts_with(want), "{got}\n{want}");
        }
    }

    #[test]
    fn a_header_and_json_that_make_no_sense_are_named() {
        let rows = [
            ("nothing", "", Format::Csv, "line 1: got no site, want at least one"),
            ("a header alone", "id,tenant,zone\n", Format::Csv, "got no site"),
            ("no zone", "id,tenant\na,b\n", Format::Csv, "column zone: got no such column"),
            ("another column", "id,tenant,zone,x\n", Format::Csv, "got column \"x\", want columns"),
            ("semicolons", "id;tenant;zone\n", Format::Csv, "got column \"id;tenant;zone\""),
            (
                "a column twice",
                "id,id,tenant,zone\n",
                Format::Csv,
                "column id: got the column twice",
            ),
            ("no JSON", "id,tenant\n", Format::Jsonl, "want one JSON object a line"),
            ("a list", "[1]\n", Format::Jsonl, "want one JSON object a line"),
            (
                "another key",
                r#"{"id":"a","tenant":"t","zone":"UTC","token":"x"}"#,
                Format::Jsonl,
                "got key \"token\", want keys of id, tenant",
            ),
            (
                "a number for a name",
                r#"{"id":1,"tenant":"t","zone":"UTC"}"#,
                Format::Jsonl,
                "column id: got 1, want text",
            ),
            (
                "a fraction of a second",
                r#"{"id":"a","tenant":"t","zone":"UTC","upload_interval_s":1.5}"#,
                Format::Jsonl,
                "column upload_interval_s: got 1.5, want 1 to 86400 seconds",
            ),
        ];
        for (name, text, format, want) in rows {
            let got = mistakes(text, format);
            assert!(got.iter().any(|m| m.contains(want)), "{name}: {got:#?}");
        }
        let one = mistakes(r#"{"id":1,"tenant":"t","zone":"UTC"}"#, Format::Jsonl);
        assert_eq!(one.len(), 1, "a mistake is said once: {one:#?}");
    }
}
