//! The syntax of one line, in bytes: where its parts begin and end.
//!
//! `measurement[,tag=value…] field=value[,field=value…] [timestamp]`; a backslash takes the
//! meaning from a comma, a space, an equals sign or a backslash, and nothing from a line's end; a
//! string stands in double quotes and may hold the ends of lines.
//!
//! Invariants: each part is a slice of the input, nothing is copied; and whatever the body is, its
//! bytes are read four times on average at most, and a constant number more (see [`Scan`]). What it
//! is not: it knows no names, numbers or times.

use heliograph_domain::Violation;
use std::{borrow::Cow, cell::Cell};

/// The most bytes of a part that a message shows.
const SHOWN_BYTES_MAX: usize = 400;

/// What the broken lines of any body may read behind their ends: so little that it costs nothing,
/// so much that the lines of a small body are read the same wherever they stand.
const SPARE_BYTES_MIN: usize = 128 * 1024;

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

/// The lines of a body, one after the other.
///
/// An open quote may lead beyond the end of its line, and back to it when the line turns out to be
/// broken: what it read there is read again, and the next line may do the same. So all broken lines
/// of a body together may read as many bytes behind their ends as the body has, or
/// [`SPARE_BYTES_MIN`]; from then on a string ends with its line. A quote forgotten here and there
/// does not come to that: its string ends at the next quote, and the line is broken there.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    rest: &'a [u8],
    fields_max: usize,
    /// How far broken lines may still read behind their ends.
    spare_bytes: usize,
    #[cfg(test)]
    read_bytes: usize,
}

impl<'a> Scan<'a> {
    /// Lines with at most `fields_max` fields.
    pub fn new(body: &'a [u8], fields_max: usize) -> Self {
        Self {
            rest: body,
            fields_max,
            spare_bytes: body.len().max(SPARE_BYTES_MIN),
            #[cfg(test)]
            read_bytes: 0,
        }
    }

    fn read(&mut self) -> Next<'a> {
        let body = self.rest;
        let newline = body.iter().position(|b| *b == b'\n');
        let own_bytes = newline.map_or(body.len(), |at| at + 1);
        let reach = own_bytes.saturating_add(self.spare_bytes).min(body.len());
        let text = Text::new(body.get(..reach).unwrap_or(body), own_bytes);
        let next = text.next(self.fields_max, reach < body.len());
        if matches!(next, Next::Broken(..)) {
            self.spare_bytes = self.spare_bytes.saturating_sub(text.behind_bytes.get());
        }
        #[cfg(test)]
        {
            self.read_bytes += own_bytes + text.read_bytes.get();
        }
        next
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Next<'a>;

    fn next(&mut self) -> Option<Next<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let next = self.read();
        let behind = self.rest.get(next.raw().len()..).unwrap_or_default();
        let newline = behind.iter().position(|b| *b == b'\n').unwrap_or(behind.len());
        self.rest = behind.get(newline + 1..).unwrap_or_default();
        Some(next)
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
    format!("{:?}", String::from_utf8_lossy(part.get(..SHOWN_BYTES_MAX).unwrap_or(part)))
}

/// The rest of a body, as far as its first line may be read.
struct Text<'a> {
    bytes: &'a [u8],
    /// To the first end of a line, and with it.
    own_bytes: usize,
    /// What was read behind these, each byte as often as it was.
    behind_bytes: Cell<usize>,
    #[cfg(test)]
    read_bytes: Cell<usize>,
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8], own_bytes: usize) -> Self {
        Self {
            bytes,
            own_bytes,
            behind_bytes: Cell::new(0),
            #[cfg(test)]
            read_bytes: Cell::new(0),
        }
    }

    /// The first line. The end of a text that `is_cut` is not the end of a line.
    fn next(&self, fields_max: usize, is_cut: bool) -> Next<'a> {
        let own = self.slice(0, self.own_bytes);
        let own = own.strip_suffix(b"\n").unwrap_or(own);
        let own = own.strip_suffix(b"\r").unwrap_or(own);
        let start = self.skip_blanks(0);
        if self.is_end(start) || self.is(start, b'#') {
            return Next::Blank(own);
        }
        match self.line(start, fields_max) {
            Ok(Line { raw, .. }) if is_cut && !self.has_newline_at(raw.len()) => {
                let want = "strings without ends of lines, behind so many broken lines";
                Next::Broken(own, Violation::new("field", self.rest_of_line(start), want))
            }
            Ok(line) => Next::Line(line),
            Err(violation) => Next::Broken(own, violation),
        }
    }

    fn line(&self, start: usize, fields_max: usize) -> Result<Line<'a>, Violation> {
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
        &self,
        what: &str,
        at: usize,
        value: impl Fn(&Self, usize) -> Result<(usize, &'a [u8]), Violation>,
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
    fn value(&self, at: usize) -> Result<(usize, &'a [u8]), Violation> {
        if !self.is(at, b'"') {
            return Ok(self.part(at, b", "));
        }
        let mut end = at + 1;
        while let Some(byte) = self.bytes.get(end).filter(|b| **b != b'"') {
            end += if *byte == b'\\' { 2 } else { 1 };
        }
        self.count(at, end);
        if !self.is(end, b'"') {
            let got = self.rest_of_line(at);
            return Err(Violation::new("field", got, "a closing double quote"));
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
    fn timestamp(&self, at: usize) -> Result<(usize, Option<&'a [u8]>), Violation> {
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
    fn part(&self, start: usize, stops: &[u8]) -> (usize, &'a [u8]) {
        let mut at = start;
        while !self.is_end(at) {
            match self.bytes.get(at) {
                Some(b'\\') if !self.is_end(at + 1) => at += 2,
                Some(byte) if stops.contains(byte) => break,
                _ => at += 1,
            }
        }
        self.count(start, at);
        (at, self.slice(start, at))
    }

    fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default()
    }

    fn is(&self, at: usize, byte: u8) -> bool {
        self.bytes.get(at) == Some(&byte)
    }

    fn is_blank(&self, at: usize) -> bool {
        self.is(at, b' ') || self.is(at, b'\t')
    }

    /// At the end of the body or of a line: `\n`, or `\r` before one of these.
    fn is_end(&self, at: usize) -> bool {
        let is_end = |at| matches!(self.bytes.get(at), None | Some(b'\n'));
        is_end(at) || self.is(at, b'\r') && is_end(at + 1)
    }

    fn skip_blanks(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.count(at, at + blanks);
        at + blanks
    }

    fn has_newline_at(&self, at: usize) -> bool {
        self.is(at, b'\n') || self.is(at, b'\r') && self.is(at + 1, b'\n')
    }

    /// As much as is shown of it.
    fn rest_of_line(&self, at: usize) -> String {
        let rest = self.slice(at, at + SHOWN_BYTES_MAX);
        let rest = rest.split(|b| *b == b'\n').next().unwrap_or_default();
        self.count(at, at + rest.len());
        match rest.strip_suffix(b"\r").unwrap_or(rest) {
            [] => "the end of the line".to_owned(),
            rest => shown(rest),
        }
    }

    fn count(&self, start: usize, end: usize) {
        let behind = end.saturating_sub(start.max(self.own_bytes));
        self.behind_bytes.set(self.behind_bytes.get() + behind);
        #[cfg(test)]
        self.read_bytes.set(self.read_bytes.get() + end - start);
    }
}

#[cfg(test)]
mod tests;
