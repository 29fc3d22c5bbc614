//! Where an upload is in a trace: W3C Trace Context, header `traceparent`.
//!
//! Invariant: what is parsed has sound ids and only flags that this version knows, and what is
//! shown is a header of version 00 that parses to the same. A header that breaks the rules is
//! `None`, never an error: whoever reads it goes on as if none had come. What it is not: it makes no
//! ids (the shells do, at random), and `tracestate` is left out, which the standard allows; a
//! sender's own notes are not worth up to 512 bytes of every record.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
};

/// The name of the header, on requests and on records.
pub const TRACEPARENT: &str = "traceparent";
/// What all versions begin with: version, trace, parent and flags.
const KNOWN_BYTES: usize = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".len();
const SAMPLED: u8 = 0b01;
/// The trace id is random (level 2): kept for as long as the id is.
const RANDOM: u8 = 0b10;

/// Names a trace: all that one request causes anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(NonZeroU128);

/// Names one step of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

/// A step of a trace, as the next one is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    /// The step itself: the parent of what it causes.
    pub span_id: SpanId,
    flags: u8,
}

impl TraceId {
    pub const fn new(id: NonZeroU128) -> Self {
        Self(id)
    }
}

impl SpanId {
    pub const fn new(id: NonZeroU64) -> Self {
        Self(id)
    }
}

impl TraceContext {
    /// The first step of a trace.
    pub const fn root(trace_id: TraceId, span_id: SpanId, sampled: bool) -> Self {
        Self { trace_id, span_id, flags: if sampled { SAMPLED } else { 0 } }
    }

    /// A further step of the same trace.
    pub const fn child(self, span_id: SpanId) -> Self {
        Self { span_id, ..self }
    }

    /// Whether who began the trace wants to see it.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads the value of a header; of a later version what all versions have in common.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, more) = header.split_at_checked(KNOWN_BYTES)?;
        let mut parts = known.split(|b| *b == b'-');
        let mut next = |digits| hex(parts.next().filter(|part| part.len() == digits)?);
        let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        match (version, more) {
            (0xff, _) => return None,
            (0, []) | (1.., [] | [b'-', ..]) => {}
            _ => return None,
        }
        Some(Self {
            trace_id: TraceId(NonZeroU128::new(trace_id)?),
            span_id: SpanId(NonZeroU64::new(u64::try_from(span_id).ok()?)?),
            // Flags that are not known are not passed on.
            flags: u8::try_from(flags).ok()? & (SAMPLED | RANDOM),
        })
    }
}

/// Lower-case digits alone.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags } = self;
        write!(f, "00-{trace_id}-{span_id}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The standard's own example.
    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn shown(header: &str) -> Option<String> {
        TraceContext::parse(header.as_bytes()).map(|trace| trace.to_string())
    }

    #[test]
    fn a_header_is_read_by_the_rules_or_passed_over() {
        let with = |from: &str, to: &str| SOUND.replacen(from, to, 1);
        let unsampled = || Some(with("-01", "-00"));
        let rows = [
            ("the standard's example", SOUND.to_owned(), Some(SOUND.to_owned())),
            ("not sampled", with("-01", "-00"), unsampled()),
            ("a random id is kept as such", with("-01", "-03"), Some(with("-01", "-03"))),
            ("unknown flags are not passed on", with("-01", "-fc"), unsampled()),
            ("a later version is read as ours", with("00-", "cc-"), Some(SOUND.to_owned())),
            ("with more behind it", with("00-", "cc-") + "-what", Some(SOUND.to_owned())),
            ("with an empty part behind it", with("00-", "cc-") + "-", Some(SOUND.to_owned())),
            ("but set off by a dash", with("00-", "cc-") + ".what", None),
            ("ours ends with its flags", SOUND.to_owned() + "-what", None),
            ("nothing, not even a dash", SOUND.to_owned() + "-", None),
            ("a version that never is", with("00-", "ff-"), None),
            ("a version of one digit", with("00-", "0-") + "0", None),
            ("no trace", with("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), None),
            ("no parent", with("00f067aa0ba902b7", &"0".repeat(16)), None),
            ("upper case", with("4bf9", "4BF9"), None),
            ("upper case in the version", with("00-", "CC-"), None),
            ("upper case in the flags", with("-01", "-0A"), None),
            ("not hexadecimal", with("4bf9", "4bg9"), None),
            ("a sign is no digit", with("-01", "-+1"), None),
            ("another separator", SOUND.replace('-', "_"), None),
            ("a separator in another place", with("736-00f0", "73-600f0"), None),
            ("a space", format!(" {SOUND}"), None),
            ("cut", SOUND[..54].to_owned(), None),
            ("empty", String::new(), None),
            ("two in one", format!("{SOUND},{SOUND}"), None),
        ];
        for (name, header, want) in rows {
            assert_eq!(shown(&header), want, "{name}: {header}");
        }
        assert!(TraceContext::parse(SOUND.as_bytes()).is_some_and(TraceContext::is_sampled));
    }

    #[test]
    fn a_step_keeps_the_trace_and_whether_it_is_sampled() {
        let span = SpanId::new(NonZeroU64::MIN);
        let parent = TraceContext::parse(SOUND.as_bytes()).unwrap();
        let want = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01";
        assert_eq!(parent.child(span).to_string(), want);
        let root = TraceContext::root(parent.trace_id, span, false);
        assert_eq!((root.trace_id, root.is_sampled()), (parent.trace_id, false));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(
            trace_id in 1u128.., span_id in 1u64.., sampled in any::<bool>()
        ) {
            let trace_id = TraceId::new(NonZeroU128::new(trace_id).unwrap());
            let span_id = SpanId::new(NonZeroU64::new(span_id).unwrap());
            let trace = TraceContext::root(trace_id, span_id, sampled);
            prop_assert_eq!(TraceContext::parse(trace.to_string().as_bytes()), Some(trace));
        }

        #[test]
        fn whatever_comes_is_sound_or_nothing(
            header in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                "[0-9a-f]{2}-[0-9a-g]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,9})?"
                    .prop_map(String::into_bytes),
            ]
        ) {
            if let Some(trace) = TraceContext::parse(&header) {
                let shown = trace.to_string();
                prop_assert_eq!(&shown.as_bytes()[2..53], &header[2..53]);
                prop_assert_eq!(TraceContext::parse(shown.as_bytes()), Some(trace));
            }
        }
    }
}
