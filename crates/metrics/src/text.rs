//! The two text formats that Prometheus scrapes: OpenMetrics 1.0 and its own, 0.0.4.
//!
//! They differ in how the types are told: OpenMetrics names a counter without its `_total` and has
//! lines for units and the end. Everything else is alike.

use crate::Registry;
use prometheus_client::encoding::text;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    Plain,
}

impl Format {
    /// What a scraper with this `Accept` header gets.
    pub fn accepted_by(accept: Option<&str>) -> Self {
        match accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All that stands in the registry.
pub fn encode(registry: &Registry, format: Format) -> String {
    let mut open = String::new();
    // Writing to a string does not fail; a collector that did would end the text early, and a
    // scraper refuses one without its end.
    let _ = text::encode(&mut open, registry.inner());
    match format {
        Format::OpenMetrics => open,
        Format::Plain => plain(&open),
    }
}

fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    // The help stands before the type, which says how it is to be named.
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, words)| words);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            let help = help.take().unwrap_or_default();
            out += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scraper_chooses_the_format() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1";
        let rows = [
            (Some(prometheus), Format::OpenMetrics),
            (Some("text/plain;version=0.0.4"), Format::Plain),
            (Some("*/*"), Format::Plain),
            (None, Format::Plain),
        ];
        for (accept, want) in rows {
            assert_eq!(Format::accepted_by(accept), want, "{accept:?}");
        }
    }

    #[test]
    fn the_plain_format_names_types_as_its_samples() {
        let open = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                    a_bytes_total{x=\"# TYPE\"} 1\n# HELP b Build.\n# TYPE b info\n\
                    b_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n# EOF\n";
        let want = "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\n\
                    a_bytes_total{x=\"# TYPE\"} 1\n# HELP b_info Build.\n# TYPE b_info gauge\n\
                    b_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n";
        assert_eq!(plain(open), want);
    }
}
