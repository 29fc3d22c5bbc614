//! Which output formats may be streamed, and the header that must come once.
//!
//! The engine formats every chunk of a stream as a document of its own. For formats that are
//! nothing but rows, the chunks in a row are the document. Formats that begin with a header repeat
//! it in each chunk: it is taken off all but the first. Everything else is run to its end first.

use bytes::Bytes;

/// How a streamable format begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    None,
    /// A column count and that many strings, this many times.
    Binary {
        strings_per_column: usize,
    },
    /// Lines; a line end between double quotes belongs to a name.
    Lines {
        count: usize,
        quoted: bool,
    },
}

const STREAMABLE: &[(&str, Header)] = &[
    ("RowBinary", Header::None),
    ("Native", Header::None),
    ("TabSeparated", Header::None),
    ("TSV", Header::None),
    ("TabSeparatedRaw", Header::None),
    ("TSVRaw", Header::None),
    ("CSV", Header::None),
    ("JSONEachRow", Header::None),
    ("JSONLines", Header::None),
    ("NDJSON", Header::None),
    ("JSONCompactEachRow", Header::None),
    ("RowBinaryWithNames", Header::Binary { strings_per_column: 1 }),
    ("RowBinaryWithNamesAndTypes", Header::Binary { strings_per_column: 2 }),
    ("CSVWithNames", Header::Lines { count: 1, quoted: true }),
    ("CSVWithNamesAndTypes", Header::Lines { count: 2, quoted: true }),
    ("TabSeparatedWithNames", Header::Lines { count: 1, quoted: false }),
    ("TSVWithNames", Header::Lines { count: 1, quoted: false }),
    ("TabSeparatedWithNamesAndTypes", Header::Lines { count: 2, quoted: false }),
    ("TSVWithNamesAndTypes", Header::Lines { count: 2, quoted: false }),
];

/// Joins the chunks of one stream into one document.
#[derive(Debug)]
pub(super) struct Joiner {
    header: Header,
    seen: Option<Bytes>,
}

impl Joiner {
    /// `None` if the format cannot be streamed.
    pub fn for_format(format: &str) -> Option<Joiner> {
        let (_, header) = STREAMABLE.iter().find(|(name, _)| name.eq_ignore_ascii_case(format))?;
        Some(Joiner { header: *header, seen: None })
    }

    /// The chunk as it belongs into the document.
    pub fn join(&mut self, chunk: Bytes) -> Result<Bytes, String> {
        let Some(seen) = &self.seen else {
            let len = header_len(self.header, &chunk).ok_or("a chunk begins without its header")?;
            self.seen = Some(chunk.slice(..len));
            return Ok(chunk);
        };
        if !chunk.starts_with(seen) {
            return Err("the header changed in the middle of a stream".into());
        }
        Ok(chunk.slice(seen.len()..))
    }
}

fn header_len(header: Header, chunk: &[u8]) -> Option<usize> {
    match header {
        Header::None => Some(0),
        Header::Binary { strings_per_column } => {
            let mut rest = chunk;
            let columns = take_varint(&mut rest)?;
            for _ in 0..columns.checked_mul(strings_per_column)? {
                let len = take_varint(&mut rest)?;
                rest = rest.get(len..)?;
            }
            Some(chunk.len() - rest.len())
        }
        Header::Lines { count, quoted } => {
            let mut in_quotes = false;
            let mut lines = 0;
            let last = chunk.iter().position(|byte| {
                in_quotes ^= quoted && *byte == b'"';
                lines += usize::from(*byte == b'\n' && !in_quotes);
                lines == count
            })?;
            Some(last + 1)
        }
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..63).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The `Content-Type` of a format, as ClickHouse sends it.
pub(super) fn content_type(format: &str) -> &'static str {
    let lower = format.to_ascii_lowercase();
    if lower.starts_with("jsoneachrow") || lower.ends_with("jsoneachrow") || lower == "ndjson" {
        "application/x-ndjson; charset=UTF-8"
    } else if lower.starts_with("json") {
        "application/json; charset=UTF-8"
    } else if lower.starts_with("csv") {
        "text/csv; charset=UTF-8; header=absent"
    } else if lower.starts_with("tsv") || lower.starts_with("tabseparated") {
        "text/tab-separated-values; charset=UTF-8"
    } else if lower.starts_with("rowbinary") || lower == "native" {
        "application/octet-stream"
    } else {
        "text/plain; charset=UTF-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(format: &str, chunks: Chunks) -> Result<Vec<u8>, String> {
        let mut joiner = Joiner::for_format(format).ok_or("not streamable")?;
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend_from_slice(&joiner.join(Bytes::from_static(chunk))?);
        }
        Ok(all)
    }

    type Chunks = &'static [&'static [u8]];

    #[test]
    fn the_header_of_a_stream_comes_once() {
        let rows: &[(&str, &str, Chunks, &[u8])] = &[
            ("no header, nothing taken off", "TSV", &[b"1\n", b"1\n"], b"1\n1\n"),
            (
                "names",
                "RowBinaryWithNames",
                &[b"\x01\x01n\x05", b"\x01\x01n\x06"],
                b"\x01\x01n\x05\x06",
            ),
            (
                "names and types",
                "rowbinarywithnamesandtypes",
                &[b"\x01\x01n\x05UInt8\x07", b"\x01\x01n\x05UInt8\x08"],
                b"\x01\x01n\x05UInt8\x07\x08",
            ),
            ("a line of names", "CSVWithNames", &[b"\"n\"\n1\n", b"\"n\"\n2\n"], b"\"n\"\n1\n2\n"),
            (
                "a line end in a name",
                "CSVWithNames",
                &[b"\"a\nb\"\n1\n", b"\"a\nb\"\n2\n"],
                b"\"a\nb\"\n1\n2\n",
            ),
            (
                "two lines",
                "TSVWithNamesAndTypes",
                &[b"n\nUInt8\n1\n", b"n\nUInt8\n2\n"],
                b"n\nUInt8\n1\n2\n",
            ),
            ("a header alone", "TSVWithNames", &[b"n\n"], b"n\n"),
        ];
        for (name, format, chunks, want) in rows {
            assert_eq!(joined(format, chunks).as_deref(), Ok(*want), "{name}");
        }
    }

    #[test]
    fn a_header_that_changes_is_an_error_and_never_data() {
        assert!(joined("TSVWithNames", &[b"n\n1\n", b"m\n2\n"]).is_err());
        assert!(joined("RowBinaryWithNames", &[b"\x05\x01n"]).is_err());
    }

    #[test]
    fn documents_are_not_streamed() {
        for format in ["JSON", "JSONCompact", "Pretty", "XML", "Parquet", "Arrow", "Values", "Null"]
        {
            assert!(Joiner::for_format(format).is_none(), "{format}");
        }
    }
}
