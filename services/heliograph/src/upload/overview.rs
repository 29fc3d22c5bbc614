//! What is in a file, for a look before anything is sent: how much, from when to when, how large.

use heliograph_domain::Timestamp;

/// A time, and how the file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub ts: Timestamp,
    pub text: String,
}

#[derive(Debug, Default, PartialEq)]
pub struct Overview {
    /// Rows that have a reading.
    pub rows: usize,
    pub readings: usize,
    /// Cells and rows that cannot be used.
    pub mistakes: usize,
    /// Earliest and latest time of a reading.
    pub span: Option<(Seen, Seen)>,
    /// Of each column, as the file has it.
    pub largest: Vec<Option<f64>>,
}

impl Overview {
    pub fn new(columns: usize) -> Self {
        Self { largest: vec![None; columns], ..Self::default() }
    }

    /// One more row: its time, and the values of its columns.
    pub fn add(&mut self, ts: Timestamp, text: &str, values: &[(usize, f64)]) {
        if values.is_empty() {
            return;
        }
        self.rows += 1;
        self.readings += values.len();
        let seen = || Seen { ts, text: text.to_owned() };
        match &mut self.span {
            None => self.span = Some((seen(), seen())),
            Some((first, _)) if ts < first.ts => *first = seen(),
            Some((_, last)) if ts > last.ts => *last = seen(),
            Some(_) => {}
        }
        for (column, value) in values {
            if let Some(largest) = self.largest.get_mut(*column) {
                *largest = Some(largest.map_or(*value, |largest| largest.max(*value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overview_has_the_outermost_times_and_the_largest_values() {
        let mut overview = Overview::new(3);
        type Row<'a> = (i64, &'a str, &'a [(usize, f64)]);
        let rows: [Row; 4] = [
            (20, "b", &[(0, -3.0), (1, 7.0)]),
            (10, "a", &[(0, -2.0)]),
            (99, "nothing measured", &[]),
            (30, "c", &[(1, 5.0)]),
        ];
        for (secs, text, values) in rows {
            overview.add(Timestamp::from_secs(secs), text, values);
        }
        let seen = |secs, text: &str| Seen { ts: Timestamp::from_secs(secs), text: text.into() };
        let want = Overview {
            rows: 3,
            readings: 4,
            mistakes: 0,
            span: Some((seen(10, "a"), seen(30, "c"))),
            largest: vec![Some(-2.0), Some(7.0), None],
        };
        assert_eq!(overview, want);
    }
}
