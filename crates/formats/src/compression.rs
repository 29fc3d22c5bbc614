//! Compressed bodies: `Content-Encoding` gzip or zstd, from bytes to bytes.
//!
//! Invariants: no more than the limit is ever given, and never much more than that is held,
//! whatever the sender's headers promise; what is not a whole, sound stream is refused. Several
//! gzip members or zstd frames one after the other are one stream, as their formats say. What it
//! is not: it knows no HTTP and reads nothing by itself.

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use heliograph_domain::Violation;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use std::{fmt::Display, io::Read};

/// Each member or frame costs its tables, however few bytes it brings.
const PARTS_MAX: usize = 100;
const WANT_ENCODING: &str = "gzip, zstd or identity, once";
/// The largest block of zstd.
const ZSTD_BLOCK_BYTES_MAX: usize = 128 * 1024;
/// Magic, descriptor, window, dictionary id and content size of a zstd frame, at their longest.
const ZSTD_HEAD_BYTES_MAX: usize = 4 + 1 + 1 + 4 + 8;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq)]
pub enum Undone {
    /// It would be larger than the limit.
    TooLarge(Violation),
    /// It is not what its encoding says.
    Broken(Violation),
}

impl Encoding {
    /// Reads the value of a `Content-Encoding` header.
    ///
    /// # Errors
    /// For anything but one encoding that is known here.
    pub fn parse(header: &str) -> Result<Self, Violation> {
        let name = header.trim();
        let known = [
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        let found = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, encoding)| encoding).ok_or_else(|| {
            Violation::new("content-encoding", format_args!("{header:?}"), WANT_ENCODING)
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Decompresses a whole body, to at most `bytes_max`.
///
/// # Errors
/// [`Undone`].
pub fn decompress(encoding: Encoding, body: Bytes, bytes_max: usize) -> Result<Bytes, Undone> {
    let mut out = Output::new(bytes_max);
    let done = match encoding {
        Encoding::Identity if body.len() > bytes_max => Err(Failure::TooLarge),
        Encoding::Identity => return Ok(body),
        Encoding::Gzip => each_part(&body, |rest| gzip_member(rest, &mut out)),
        Encoding::Zstd => each_part(&body, |rest| zstd_frame(rest, &mut out)),
    };
    match done {
        Ok(()) => Ok(out.into_bytes()),
        Err(Failure::TooLarge) => {
            let got = format!("more than {bytes_max} bytes, decompressed");
            let want = format!("at most {bytes_max} bytes; send the readings in several uploads");
            Err(Undone::TooLarge(Violation::new("body", got, want)))
        }
        Err(Failure::Broken(why)) => {
            let name = encoding.name();
            let want = format!("one whole {name} stream, as content-encoding says");
            Err(Undone::Broken(Violation::new("body", format_args!("broken {name}: {why}"), want)))
        }
    }
}

enum Failure {
    TooLarge,
    Broken(String),
}

impl Failure {
    fn broken(why: impl Display) -> Self {
        Self::Broken(why.to_string())
    }
}

/// Takes part after part off `rest`; `part` leaves what follows it.
fn each_part(
    mut rest: &[u8],
    mut part: impl FnMut(&mut &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for number in 0..PARTS_MAX {
        part(&mut rest).map_err(|failure| match failure {
            Failure::Broken(why) if number > 0 => {
                Failure::Broken(format!("{why}, in what follows part {number}"))
            }
            other => other,
        })?;
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(Failure::Broken(format!("more than {PARTS_MAX} parts")))
}

fn gzip_member(rest: &mut &[u8], out: &mut Output) -> Result<(), Failure> {
    let mut member = GzDecoder::new(*rest);
    out.fill(|to| member.read(to).map_err(Failure::broken))?;
    *rest = member.into_inner();
    Ok(())
}

fn zstd_frame(rest: &mut &[u8], out: &mut Output) -> Result<(), Failure> {
    let mut head: Vec<u8> = rest.iter().copied().take(ZSTD_HEAD_BYTES_MAX).collect();
    let window = cap_window(&mut head, out.max);
    let mut frame = FrameDecoder::new();
    frame.set_max_window_size(window);
    match frame.init(head.as_slice()) {
        Ok(()) => {}
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
            length,
            ..
        })) => {
            *rest = rest.get(8 + length as usize..).ok_or_else(|| Failure::broken("breaks off"))?;
            return Ok(());
        }
        Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Failure::TooLarge),
        Err(error) => return Err(Failure::broken(error)),
    }
    let start = out.filled;
    if frame.content_size() > (out.max - start) as u64 {
        return Err(Failure::TooLarge);
    }
    // The head ends where the decoder stopped reading it.
    *rest = rest.get(frame.bytes_read_from_source() as usize..).unwrap_or_default();
    loop {
        let is_last = frame
            .decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(Failure::broken)?;
        out.fill(|to| frame.read(to).map_err(Failure::broken))?;
        if is_last {
            break;
        }
    }
    if frame
        .get_checksum_from_data()
        .is_some_and(|sum| Some(sum) != frame.get_calculated_checksum())
    {
        return Err(Failure::broken("its checksum does not fit"));
    }
    match frame.content_size() {
        // Not said, or nothing.
        0 => Ok(()),
        said if said == (out.filled - start) as u64 => Ok(()),
        said => Err(Failure::Broken(format!("it says {said} bytes and has another number"))),
    }
}

/// A decoder holds a window of what it gave, as large as the frame's head says. No more than
/// `bytes_max` is ever given, so no larger window is ever needed: the head is made to say so.
/// Gives the largest window that can be left.
fn cap_window(head: &mut [u8], bytes_max: usize) -> u64 {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let window = bytes_max.max(ZSTD_BLOCK_BYTES_MAX).next_power_of_two();
    // A descriptor is five bits of exponent above three of mantissa.
    let descriptor = (window.trailing_zeros().saturating_sub(10).min(31) as u8) << 3;
    if let [_, _, _, _, flags, said, ..] = head
        && *flags & SINGLE_SEGMENT == 0
    {
        *said = descriptor.min(*said);
    }
    window as u64
}

/// What was given so far; never room for more than `max`.
struct Output {
    /// Filled up to `filled`; the rest is room.
    bytes: Vec<u8>,
    filled: usize,
    max: usize,
}

impl Output {
    const fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), filled: 0, max }
    }

    /// Takes from `read` until it gives nothing.
    fn fill(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Failure>,
    ) -> Result<(), Failure> {
        loop {
            if self.filled == self.max {
                return match read(&mut [0])? {
                    0 => Ok(()),
                    _ => Err(Failure::TooLarge),
                };
            }
            if self.filled == self.bytes.len() {
                let room = (self.filled * 2).max(16 * 1024).min(self.max);
                self.bytes.reserve_exact(room - self.filled);
                self.bytes.resize(room, 0);
            }
            match read(self.bytes.get_mut(self.filled..).unwrap_or_default())? {
                0 => return Ok(()),
                n => self.filled += n,
            }
        }
    }

    fn into_bytes(mut self) -> Bytes {
        self.bytes.truncate(self.filled);
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests;
