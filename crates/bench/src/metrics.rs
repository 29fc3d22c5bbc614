//! Numbers out of what `/metrics` shows. Pure.

use anyhow::bail;

/// A number out of what `/metrics` shows: the sum over all lines of this name that hold all of these
/// labels.
///
/// # Errors
/// When there is none.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
    let mut found = None;
    for line in text.lines().filter(|line| line.starts_with(name)) {
        let rest = &line[name.len()..];
        let is_it = rest.starts_with(['{', ' ']) && labels.iter().all(|l| rest.contains(l));
        if let (true, Some((_, value))) = (is_it, line.rsplit_once(' ')) {
            found = Some(found.unwrap_or(0.0) + value.parse::<f64>()?);
        }
    }
    match found {
        Some(value) => Ok(value),
        None => bail!("no metric {name} {labels:?}"),
    }
}

/// The buckets of a histogram of these labels: upper bound and cumulative count.
///
/// # Errors
/// When a number is none.
pub fn buckets(text: &str, name: &str, labels: &[&str]) -> anyhow::Result<Vec<(f64, f64)>> {
    let name = format!("{name}_bucket");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(&name)) {
        if !labels.iter().all(|label| line.contains(label)) {
            continue;
        }
        let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
        if let (Some(bound), Some((_, count))) = (bound, line.rsplit_once(' ')) {
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
            found.push((bound, count.parse()?));
        }
    }
    Ok(found)
}

/// What was observed between two looks at a histogram.
pub fn between(before: &[(f64, f64)], after: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let was = |bound| before.iter().find(|(b, _)| *b == bound).map_or(0.0, |(_, count)| *count);
    after.iter().map(|(bound, count)| (*bound, count - was(*bound))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name_and_its_labels() {
        let text = "# TYPE a counter\na_total{k=\"x\",p=\"1\"} 2\na_total{k=\"x\",p=\"2\"} 3\n\
                    a_total{k=\"y\"} 7\na_total_other 9\nb 1.5\n";
        assert_eq!(metric(text, "a_total", &["k=\"x\""]).unwrap(), 5.0);
        assert_eq!(metric(text, "b", &[]).unwrap(), 1.5);
        assert!(metric(text, "a", &[]).is_err());
        assert!(metric(text, "a_total", &["k=\"z\""]).is_err());
    }

    #[test]
    fn a_histogram_is_read_and_what_came_in_between_is_a_difference() {
        let text = "d_bucket{le=\"0.5\",p=\"http\"} 2\nd_bucket{le=\"+Inf\",p=\"http\"} 5\n\
                    d_bucket{le=\"0.5\",p=\"grpc\"} 9\nd_count{p=\"http\"} 5\n";
        let got = buckets(text, "d", &["p=\"http\""]).unwrap();
        assert_eq!(got, [(0.5, 2.0), (f64::INFINITY, 5.0)]);
        let before = [(0.5, 1.0), (f64::INFINITY, 2.0)];
        assert_eq!(between(&before, &got), [(0.5, 1.0), (f64::INFINITY, 3.0)]);
    }
}
