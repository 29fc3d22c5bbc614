//! What a request says about itself outside of its SQL: URL parameters, credentials, form fields.
//!
//! Guarantee: whatever this endpoint cannot do is refused by name. A parameter that is not
//! ClickHouse's own is a setting, as in ClickHouse, and only a plain name can be one, because it
//! ends up in a `SET`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::error::Failure;

/// Everything but the SQL and the rows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub query: Option<String>,
    pub database: Option<String>,
    pub default_format: Option<String>,
    pub query_id: Option<String>,
    /// Run to the end before the first byte goes out.
    pub wait_for_end: bool,
    /// 0 writes, 1 reads, 2 reads and may change settings.
    pub readonly: u8,
    pub settings: Vec<(String, String)>,
    /// `{name:Type}` of the SQL, in ClickHouse's escaped text form.
    pub params: Vec<(String, String)>,
    user: Option<String>,
    password: Option<String>,
}

impl Call {
    pub fn parse(parts: &Parts) -> Result<Call, Failure> {
        let mut call = Call::default();
        let url_query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(url_query.as_bytes()) {
            call.take(&name, value.into_owned())?;
        }
        call.take_credentials(&parts.headers)?;
        if let Some(format) = text_header(&parts.headers, "x-clickhouse-format") {
            call.default_format.get_or_insert(format);
        }
        if let Some(database) = text_header(&parts.headers, "x-clickhouse-database") {
            call.database.get_or_insert(database);
        }
        let encoding = text_header(&parts.headers, CONTENT_ENCODING.as_str());
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(unsupported("compressed bodies"));
        }
        // As ClickHouse: what a link or an image can trigger must not write. 2 and not 1, so that
        // `SETTINGS` in the SQL still works.
        if parts.method == Method::GET && call.readonly == 0 {
            call.readonly = 2;
        }
        Ok(call)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Failure> {
        match name {
            "query" => self.query = Some(value),
            "database" => self.database = Some(value).filter(|name| !name.is_empty()),
            "default_format" => self.default_format = Some(value),
            "query_id" => self.query_id = Some(value).filter(|id| !id.is_empty()),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "wait_end_of_query" => self.wait_for_end = value != "0",
            "readonly" => self.readonly = parse_readonly(&value)?,
            "compress" | "decompress" if value != "0" => {
                return Err(unsupported("compression; switch it off in the client"));
            }
            "client_protocol_version" if value != "0" => {
                return Err(unsupported("client_protocol_version other than 0"));
            }
            "session_id" => return Err(unsupported("sessions")),
            "role" => return Err(unsupported("roles")),
            // Without a meaning here, and without harm.
            "compress"
            | "decompress"
            | "client_protocol_version"
            | "buffer_size"
            | "quota_key"
            | "session_timeout"
            | "session_check"
            | "stacktrace" => {}
            _ => match name.strip_prefix("param_") {
                Some(param) => self.params.push((param.to_owned(), value)),
                None => self.settings.push((setting_name(name)?, value)),
            },
        }
        Ok(())
    }

    /// Takes the fields of a `multipart/form-data` body: the SQL and its parameters.
    pub fn take_form(&mut self, boundary: &str, body: &[u8]) -> Result<(), Failure> {
        let fields = form_fields(boundary, body)
            .ok_or_else(|| Failure::new(36, "the multipart body is malformed"))?;
        for (name, value) in fields {
            if name != "query" && !name.starts_with("param_") {
                return Err(unsupported("external tables"));
            }
            self.take(&name, value)?;
        }
        Ok(())
    }

    fn take_credentials(&mut self, headers: &HeaderMap) -> Result<(), Failure> {
        if let Some(basic) = text_header(headers, AUTHORIZATION.as_str()) {
            let (user, password) = parse_basic(&basic).ok_or_else(|| {
                Failure::new(516, "of Authorization only Basic is known to this endpoint")
            })?;
            (self.user, self.password) = (Some(user), Some(password));
        }
        if let Some(user) = text_header(headers, "x-clickhouse-user") {
            self.user = Some(user);
        }
        if let Some(password) = text_header(headers, "x-clickhouse-key") {
            self.password = Some(password);
        }
        Ok(())
    }

    /// Compares with the one configured user. Nobody configured: everybody may.
    pub fn authenticate(&self, user: Option<&str>, password: Option<&str>) -> Result<(), Failure> {
        if user.is_none() && password.is_none() {
            return Ok(());
        }
        let want = (user.unwrap_or("default"), password.unwrap_or_default());
        let got = (
            self.user.as_deref().unwrap_or("default"),
            self.password.as_deref().unwrap_or_default(),
        );
        // Both are always compared, and in full: the time taken tells nothing about the secret.
        if same(got.0, want.0) & same(got.1, want.1) {
            return Ok(());
        }
        let message = format!(
            "{}: Authentication failed: password is incorrect, or there is no user with such name",
            got.0
        );
        Err(Failure::new(516, message))
    }
}

fn same(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b));
    (a.len() == b.len()) & (differing == 0)
}

fn unsupported(what: &str) -> Failure {
    Failure::new(48, format!("the embedded endpoint does not support {what}"))
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn parse_basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn parse_readonly(value: &str) -> Result<u8, Failure> {
    value
        .parse()
        .ok()
        .filter(|level| *level <= 2)
        .ok_or_else(|| Failure::new(36, format!("readonly is 0, 1 or 2, not '{value}'")))
}

fn setting_name(name: &str) -> Result<String, Failure> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if starts_well && name.chars().all(plain) {
        return Ok(name.to_owned());
    }
    Err(Failure::new(115, format!("Unknown setting '{name}'")))
}

/// The boundary, if the body is a form.
pub(super) fn form_boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = text_header(headers, CONTENT_TYPE.as_str())?;
    let (kind, attributes) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    attributes.split(';').find_map(|attribute| {
        let (name, value) = attribute.split_once('=')?;
        let is_boundary = name.trim().eq_ignore_ascii_case("boundary");
        is_boundary.then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The fields of a form: `None` if it is not one from its first boundary to its last.
fn form_fields(boundary: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(&delimiter.as_bytes()[2..])?;
    let mut fields = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(rest, delimiter.as_bytes())?;
        let (part, after) = (&rest[..end], &rest[end + delimiter.len()..]);
        let head_end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..head_end]).ok()?;
        let value = String::from_utf8(part[head_end + 4..].to_vec()).ok()?;
        fields.push((field_name(head)?, value));
        rest = after;
    }
}

fn field_name(head: &str) -> Option<String> {
    let line = head.lines().find(|line| {
        line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:"))
    })?;
    line.split(';').find_map(|attribute| {
        let value = attribute.trim().strip_prefix("name=")?;
        Some(value.trim_matches('"').to_owned())
    })
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
