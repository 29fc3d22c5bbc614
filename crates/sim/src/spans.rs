//! Spans of simulated time. Pure.

/// Simulated time since the start, in ms.
pub type Ms = u64;

pub const SEC: Ms = 1_000;
pub const MIN: Ms = 60 * SEC;
pub const HOUR: Ms = 60 * MIN;

/// Half-open spans, apart and in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spans(Vec<(Ms, Ms)>);

impl Spans {
    /// What is in any of both.
    pub fn or(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// What is in both.
    pub fn and(&self, other: &Self) -> Self {
        let pairs = self.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
        pairs.map(|((from, to), (start, end))| (from.max(start), to.min(end))).collect()
    }

    /// Each goes on for so much longer.
    pub fn longer_by(&self, ms: Ms) -> Self {
        self.iter().map(|(from, to)| (from, to.saturating_add(ms))).collect()
    }

    pub fn covers(&self, at: Ms) -> bool {
        self.iter().any(|(from, to)| (from..to).contains(&at))
    }

    /// How much of `from..to` is in them.
    pub fn inside(&self, from: Ms, to: Ms) -> Ms {
        self.iter().map(|(start, end)| end.min(to).saturating_sub(start.max(from))).sum()
    }

    /// How much of `from..to` is not.
    pub fn outside(&self, from: Ms, to: Ms) -> Ms {
        to.saturating_sub(from) - self.inside(from, to)
    }

    pub fn touch(&self, from: Ms, to: Ms) -> bool {
        self.inside(from, to) > 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ms, Ms)> + '_ {
        self.0.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Ms, Ms)> for Spans {
    /// In any order; those that overlap or touch become one, empty ones none.
    fn from_iter<T: IntoIterator<Item = (Ms, Ms)>>(spans: T) -> Self {
        let mut all: Vec<_> = spans.into_iter().filter(|(from, to)| from < to).collect();
        all.sort_unstable();
        let mut apart: Vec<(Ms, Ms)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match apart.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => apart.push((from, to)),
            }
        }
        Self(apart)
    }
}

/// `h:mm:ss` since the start.
pub fn clock(at: Ms) -> String {
    format!("{}:{:02}:{:02}", at / HOUR, at / MIN % 60, at / SEC % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_add_up() {
        let spans: Spans = [(30, 40), (10, 20), (15, 25), (40, 45), (50, 50)].into_iter().collect();
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(10, 25), (30, 45)]);
        assert_eq!((spans.inside(20, 35), spans.outside(20, 35)), (10, 5));
        assert_eq!((spans.inside(25, 30), spans.outside(60, 50)), (0, 0));
        let other = [(0, 12), (44, 60)].into_iter().collect();
        assert_eq!(spans.and(&other).iter().collect::<Vec<_>>(), [(10, 12), (44, 45)]);
        assert_eq!(spans.or(&other).iter().collect::<Vec<_>>(), [(0, 25), (30, 60)]);
        assert!(spans.covers(10) && !spans.covers(25));
    }
}
