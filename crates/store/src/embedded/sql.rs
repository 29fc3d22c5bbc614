//! Just enough of ClickHouse's lexer to know what a request asks for.
//!
//! Guarantee: string literals, quoted names, here-documents and comments are never mistaken for
//! syntax, and nothing after the head of an `INSERT` is looked at, because that is data. It does
//! not parse SQL: whether a statement is valid is the engine's business.

/// A refusal before the engine is asked, with ClickHouse's own code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: u32,
    pub message: &'static str,
}

/// How a statement is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// A `SELECT`; `streamable` if nothing in its text makes the output more than rows.
    Select { format: Option<String>, streamable: bool },
    /// An `INSERT` whose rows follow the head.
    Insert(InsertHead),
    /// Everything else: run to its end, answer with what comes.
    Other { format: Option<String> },
}

/// Where the parts of an `INSERT` with data are, as byte offsets into its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InsertHead {
    /// Where `FROM INFILE` belongs: before `SETTINGS`, `FORMAT` or `VALUES`.
    pub infile_at: usize,
    /// Where `FORMAT` or `VALUES` starts.
    pub format_at: usize,
    pub format: String,
    /// Where the rows start.
    pub data_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    /// A quoted name or a string literal.
    Quoted,
    Sign(u8),
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a [u8],
    start: usize,
    end: usize,
    /// How many brackets are open around it.
    depth: usize,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    fn is_top(&self, word: &str) -> bool {
        self.depth == 0 && self.is(word)
    }
}

/// Whether a statement adds rows, whose they are.
pub(super) fn inserts(text: &[u8]) -> bool {
    Lexer { text, at: 0, depth: 0 }.next().is_some_and(|first| first.is("INSERT"))
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let start = self.at;
        let first = *self.text.get(start)?;
        let kind = match first {
            b'\'' | b'"' | b'`' => {
                self.at = end_of_quoted(self.text, start);
                Kind::Quoted
            }
            b'$' if here_document_end(self.text, start).is_some() => {
                self.at = here_document_end(self.text, start)?;
                Kind::Quoted
            }
            _ if is_word(first) => {
                let rest = &self.text[start..];
                self.at += rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
                Kind::Word
            }
            sign => {
                self.at += 1;
                Kind::Sign(sign)
            }
        };
        if matches!(kind, Kind::Sign(b')' | b']' | b'}')) {
            self.depth = self.depth.saturating_sub(1);
        }
        let depth = self.depth;
        if matches!(kind, Kind::Sign(b'(' | b'[' | b'{')) {
            self.depth += 1;
        }
        Some(Token { kind, text: &self.text[start..self.at], start, end: self.at, depth })
    }
}

impl Lexer<'_> {
    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let skipped = match rest {
                [byte, ..] if byte.is_ascii_whitespace() || *byte == 0x0b => 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => {
                    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
                }
                [b'/', b'*', ..] => find(&rest[2..], b"*/").map_or(rest.len(), |at| at + 4),
                _ => return,
            };
            self.at += skipped;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

/// A quote is escaped by a backslash or by doubling; an unclosed literal goes on to the end.
fn end_of_quoted(text: &[u8], start: usize) -> usize {
    let quote = text[start];
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// `$tag$ … $tag$`, the tag may be empty.
fn here_document_end(text: &[u8], start: usize) -> Option<usize> {
    let tag_len = text[start + 1..].iter().position(|byte| !is_word(*byte))?;
    let tag_end = start + 1 + tag_len;
    if text[tag_end] != b'$' {
        return None;
    }
    let tag = &text[start..=tag_end];
    find(&text[tag_end + 1..], tag).map(|at| tag_end + 1 + at + tag.len())
}

fn lex(text: &[u8], at: usize) -> Lexer<'_> {
    Lexer { text, at, depth: 0 }
}

/// The statements of a script, without the semicolons between them; what is only comment is none.
pub(crate) fn statements(script: &str) -> Vec<&str> {
    let text = script.as_bytes();
    let mut found = Vec::new();
    let (mut start, mut end) = (None, 0);
    for token in lex(text, 0) {
        if token.kind == Kind::Sign(b';') && token.depth == 0 {
            found.extend(start.take().and_then(|start| script.get(start..end)));
        } else {
            start.get_or_insert(token.start);
            end = token.end;
        }
    }
    found.extend(start.and_then(|start| script.get(start..end)));
    found
}

/// Decides how a statement is run, or refuses what the endpoint must not let through.
pub(super) fn plan(text: &[u8]) -> Result<Plan, Refusal> {
    let first = lex(text, 0).find(|token| token.kind != Kind::Sign(b'('));
    let Some(first) = first else {
        return Err(Refusal { code: 62, message: "Syntax error: empty query" });
    };
    if first.is("INSERT")
        && let Some(head) = insert_head(text, first.end)?
    {
        return Ok(Plan::Insert(head));
    }
    let found = scan(text)?;
    if first.is("SYSTEM") && found.stops_process {
        let message = "SYSTEM SHUTDOWN and SYSTEM KILL would end the process around this engine";
        return Err(Refusal { code: 48, message });
    }
    if ["SELECT", "WITH", "FROM"].iter().any(|word| first.is(word)) {
        return Ok(Plan::Select { format: found.format, streamable: found.streamable });
    }
    Ok(Plan::Other { format: found.format })
}

/// `INSERT [INTO] [TABLE] name … FORMAT x <data>` or `… VALUES <data>`; `None` if it has no data.
fn insert_head(text: &[u8], after_insert: usize) -> Result<Option<InsertHead>, Refusal> {
    let mut tokens = lex(text, after_insert).peekable();
    // The name is skipped, so that a table called `format` is not taken for the clause.
    tokens.next_if(|token| token.is("INTO"));
    tokens.next_if(|token| token.is("TABLE"));
    tokens.next();
    while tokens.next_if(|token| token.kind == Kind::Sign(b'.')).is_some() {
        tokens.next();
    }
    let mut settings_at = None;
    while let Some(token) = tokens.next() {
        if token.is_top("SELECT") || token.is_top("WITH") || token.is_top("WATCH") {
            return Ok(None);
        }
        if token.is_top("INFILE") {
            let message = "FROM INFILE is for clients: send the rows in the body";
            return Err(Refusal { code: 78, message });
        }
        if token.is_top("SETTINGS") {
            settings_at.get_or_insert(token.start);
        }
        let (format, data_at) = if token.is_top("VALUES") {
            ("Values".to_owned(), token.end)
        } else if token.is_top("FORMAT")
            && let Some(name) = tokens.next_if(|next| next.kind == Kind::Word)
        {
            (String::from_utf8_lossy(name.text).into_owned(), skip_line_end(text, name.end))
        } else {
            continue;
        };
        let infile_at = settings_at.unwrap_or(token.start);
        return Ok(Some(InsertHead { infile_at, format_at: token.start, format, data_at }));
    }
    Ok(None)
}

/// As ClickHouse does: blanks and one line end belong to the head.
fn skip_line_end(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | 0x0c)) {
        at += 1;
    }
    if text.get(at) == Some(&b'\r') {
        at += 1;
    }
    if text.get(at) == Some(&b'\n') {
        at += 1;
    }
    at
}

struct Found {
    format: Option<String>,
    streamable: bool,
    stops_process: bool,
}

/// One pass over a statement without data.
fn scan(text: &[u8]) -> Result<Found, Refusal> {
    let mut found = Found { format: None, streamable: true, stops_process: false };
    let mut tokens = lex(text, 0).peekable();
    while let Some(token) = tokens.next() {
        let next = tokens.peek().copied();
        if token.kind == Kind::Sign(b';') && token.depth == 0 && next.is_some() {
            return Err(Refusal { code: 62, message: "Multi-statements are not allowed" });
        }
        if token.is("INTO") && next.is_some_and(|next| next.is("OUTFILE")) {
            return Err(Refusal { code: 358, message: "INTO OUTFILE is not allowed" });
        }
        found.stops_process |= token.is("SHUTDOWN") || token.is("KILL");
        found.streamable &= rows_only(token);
        if token.is_top("FORMAT")
            && let Some(name) = next.filter(|next| next.kind == Kind::Word)
        {
            found.format = Some(String::from_utf8_lossy(name.text).into_owned());
        }
    }
    Ok(found)
}

/// Totals and extremes come after the rows, and output settings can turn rows into one document:
/// such output is not the concatenation of its chunks.
fn rows_only(token: Token<'_>) -> bool {
    let is_setting = |prefix: &[u8]| {
        token.text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    token.kind != Kind::Word
        || !(token.is("TOTALS") || token.is("extremes") || is_setting(b"output_format_"))
}

#[cfg(test)]
#[path = "sql_tests.rs"]
mod tests;
