//! The syntax of one line, in bytes: where its parts begin and end.
//!
//! `measurement[,tag=value…] field=value[,field=value…] [timestamp]`; a backslash takes the
//! meaning from a comma, a space, an equals sign or a backslash, and nothing from a line's end; a
//! string stands in double quotes and may hold the ends of lines. Invariant: each part is a slice
//! of the input; nothing is copied. What it is not: it knows no names, numbers or times.

use heliograph_domain::Violation;
use std::borrow::Cow;

/// A line whose parts are well separated.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    /// From its first character to the last before the line's end.
    pub raw: &'a [u8],
    pub measurement: &'a [u8],
    pub tags: Vec<Pair<'a>>,
    pub fields: Vec<Pair<'a>>,
    pub timestamp: Option<&'a [u8]>,
}

/// A tag or a field, its escapes and quotes in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// What `body` begins with.
#[derive(Debug, PartialEq)]
pub(super) enum Next<'a> {
    /// Nothing but blanks, or a comment.
    Blank(&'a [u8]),
    Line(Line<'a>),
    /// The line as far as its end, whatever quotes stand open: so the line behind it stands alone.
    Broken(&'a [u8], Violation),
}

impl<'a> Next<'a> {
    /// What was read, without the line's end.
    pub fn raw(&self) -> &'a [u8] {
        match self {
            Self::Blank(raw) | Self::Broken(raw, _) => raw,
            Self::Line(line) => line.raw,
        }
    }
}

/// Reads one line with at most `fields_max` fields.
///
/// An open quote may lead this beyond the end of its line, and back to it when the quote turns out
/// to be a mistake. No byte is read more than twice for that: the quotes of the lines in between
/// come in pairs, so that none of those leaves one open again.
pub(super) fn next(body: &[u8], fields_max: usize) -> Next<'_> {
    let text = Text(body);
    let start = text.skip_blanks(0);
    if text.is_end(start) || body.get(start) == Some(&b'#') {
        return Next::Blank(text.physical_line());
    }
    match text.line(start, fields_max) {
        Ok(line) => Next::Line(line),
        Err(violation) => Next::Broken(text.physical_line(), violation),
    }
}

/// A part as it was meant, its escapes resolved.
pub(super) fn unescaped(part: &[u8]) -> Cow<'_, [u8]> {
    if !part.contains(&b'\\') {
        return Cow::Borrowed(part);
    }
    let (mut out, mut rest) = (Vec::with_capacity(part.len()), part);
    while let Some((&first, behind)) = rest.split_first() {
        rest = match (first, behind.split_first()) {
            (b'\\', Some((&second @ (b',' | b'=' | b' ' | b'\\' | b'"'), behind))) => {
                out.push(second);
                behind
            }
            _ => {
                out.push(first);
                behind
            }
        };
    }
    Cow::Owned(out)
}

/// Bytes as a person may read them; the start alone, since an echo is cut anyway.
pub(super) fn shown(part: &[u8]) -> String {
    const BYTES_MAX: usize = 400;
    format!("{:?}", String::from_utf8_lossy(part.get(..BYTES_MAX).unwrap_or(part)))
}

#[derive(Clone, Copy)]
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn line(self, start: usize, fields_max: usize) -> Result<Line<'a>, Violation> {
        let (mut at, measurement) = self.part(start, b", ");
        if measurement.is_empty() {
            return Err(Violation::new("measurement", self.rest_of_line(at), "a name"));
        }
        let mut tags = Vec::new();
        while self.is(at, b',') {
            let tag = self.pair("tag", at + 1, |text, at| Ok(text.part(at, b"=, ")))?;
            at = tag.0;
            if tag.1.value.is_empty() || self.is(at, b'=') {
                let got = self.rest_of_line(at);
                return Err(Violation::new("tag", got, "name=value, each = in them escaped"));
            }
            tags.push(tag.1);
        }
        at = self.skip_blanks(at);
        let mut fields = Vec::new();
        loop {
            let (end, field) = self.pair("field", at, Self::value)?;
            fields.push(field);
            if fields.len() > fields_max {
                let (got, want) = (format!("more than {fields_max}"), "fewer; send several lines");
                return Err(Violation::new("fields", got, want));
            }
            at = end + 1;
            if !self.is(end, b',') {
                at = end;
                break;
            }
        }
        let (end, timestamp) = self.timestamp(at)?;
        let raw = self.slice(0, end);
        Ok(Line { raw, measurement, tags, fields, timestamp })
    }

    /// `key=value` and where it ends.
    fn pair(
        self,
        what: &str,
        at: usize,
        value: impl Fn(Self, usize) -> Result<(usize, &'a [u8]), Violation>,
    ) -> Result<(usize, Pair<'a>), Violation> {
        let (equals, key) = self.part(at, b"=, ");
        if key.is_empty() || !self.is(equals, b'=') {
            let want = "name=value; a space or a comma in a name has a backslash before it";
            return Err(Violation::new(what, self.rest_of_line(at), want));
        }
        let (end, value) = value(self, equals + 1)?;
        Ok((end, Pair { key, value }))
    }

    /// The value of a field: a string in quotes, or what stands before the next separator.
    fn value(self, at: usize) -> Result<(usize, &'a [u8]), Violation> {
        if !self.is(at, b'"') {
            return Ok(self.part(at, b", "));
        }
        let mut end = at + 1;
        loop {
            match self.0.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => {
                    let got = self.rest_of_line(at);
                    return Err(Violation::new("field", got, "a closing double quote"));
                }
            }
        }
        end += 1;
        match self.is(end, b',') || self.is_blank(end) || self.is_end(end) {
            true => Ok((end, self.slice(at, end))),
            false => {
                let want = "a comma, a space or the end of the line behind a string";
                Err(Violation::new("field", self.rest_of_line(end), want))
            }
        }
    }

    /// The time, if there is one, and the end of the line.
    fn timestamp(self, at: usize) -> Result<(usize, Option<&'a [u8]>), Violation> {
        let start = self.skip_blanks(at);
        if self.is_end(start) {
            return Ok((start, None));
        }
        let (end, timestamp) = self.part(start, b" \t");
        let line_end = self.skip_blanks(end);
        if !self.is_end(line_end) {
            let want = "one integer, and nothing behind it";
            return Err(Violation::new("timestamp", self.rest_of_line(start), want));
        }
        Ok((line_end, Some(timestamp)))
    }

    /// What stands before the first of `stops` that has no backslash, and where it ends.
    fn part(self, start: usize, stops: &[u8]) -> (usize, &'a [u8]) {
        let mut at = start;
        while !self.is_end(at) {
            match self.0.get(at) {
                Some(b'\\') if !self.is_end(at + 1) => at += 2,
                Some(byte) if stops.contains(byte) => break,
                _ => at += 1,
            }
        }
        (at, self.slice(start, at))
    }

    fn slice(self, start: usize, end: usize) -> &'a [u8] {
        self.0.get(start..end.min(self.0.len())).unwrap_or_default()
    }

    fn is(self, at: usize, byte: u8) -> bool {
        self.0.get(at) == Some(&byte)
    }

    fn is_blank(self, at: usize) -> bool {
        self.is(at, b' ') || self.is(at, b'\t')
    }

    /// At the end of the body or of a line: `\n`, or `\r` before one of these.
    fn is_end(self, at: usize) -> bool {
        let is_end = |at| matches!(self.0.get(at), None | Some(b'\n'));
        is_end(at) || self.is(at, b'\r') && is_end(at + 1)
    }

    fn skip_blanks(self, at: usize) -> usize {
        let rest = self.0.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
    }

    fn physical_line(self) -> &'a [u8] {
        let line = self.0.split(|b| *b == b'\n').next().unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn rest_of_line(self, at: usize) -> String {
        match Text(self.0.get(at..).unwrap_or_default()).physical_line() {
            [] => "the end of the line".to_owned(),
            rest => shown(rest),
        }
    }
}
