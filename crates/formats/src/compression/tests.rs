//! What is taken, what is refused, and that nothing outgrows the limit.

use super::*;
use flate2::{Compression, GzBuilder, write::GzEncoder};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// A zstd frame by hand: its window, its content size if it says one, and blocks of one byte
/// repeated.
fn zstd_by_hand(window_log: u8, size: Option<u32>, blocks: &[(u8, u32)]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD];
    frame.push(if size.is_some() { 0b1000_0000 } else { 0 });
    frame.push((window_log - 10) << 3);
    frame.extend(size.into_iter().flat_map(u32::to_le_bytes));
    for (at, (byte, count)) in blocks.iter().enumerate() {
        let last = u32::from(at + 1 == blocks.len());
        frame.extend(&(last | 1 << 1 | count << 3).to_le_bytes()[..3]);
        frame.push(*byte);
    }
    frame
}

fn undo(encoding: Encoding, body: &[u8], max: usize) -> Result<Bytes, Undone> {
    decompress(encoding, Bytes::copy_from_slice(body), max)
}

#[test]
fn one_encoding_is_known_by_its_name() {
    let rows = [
        ("gzip", Some(Encoding::Gzip)),
        ("GZip", Some(Encoding::Gzip)),
        ("x-gzip", Some(Encoding::Gzip)),
        (" zstd ", Some(Encoding::Zstd)),
        ("identity", Some(Encoding::Identity)),
        ("br", None),
        ("deflate", None),
        ("", None),
        ("gzip, gzip", None),
        ("gzip, zstd", None),
    ];
    for (header, want) in rows {
        let got = Encoding::parse(header);
        match want {
            Some(encoding) => assert_eq!(got, Ok(encoding), "{header}"),
            None => {
                let violation = got.unwrap_err();
                assert_eq!(violation.field, "content-encoding", "{header}");
                assert!(violation.got.contains(header), "{header}: {violation}");
            }
        }
    }
}

#[test]
fn members_and_frames_one_after_the_other_are_one_stream() {
    let text = b"readings ".repeat(1_000);
    let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let named = {
        let mut gz = GzBuilder::new().filename("a.json").write(Vec::new(), Compression::best());
        gz.write_all(&text).unwrap();
        gz.finish().unwrap()
    };
    let rows = [
        ("a gzip member", Encoding::Gzip, gzip(&text), 1),
        ("a member with a name", Encoding::Gzip, named, 1),
        ("two members", Encoding::Gzip, [gzip(&text), gzip(&text)].concat(), 2),
        ("an empty member between", Encoding::Gzip, [gzip(&text), gzip(b"")].concat(), 1),
        ("a zstd frame", Encoding::Zstd, zstd(&text), 1),
        ("two frames", Encoding::Zstd, [zstd(&text), zstd(&text)].concat(), 2),
        ("a skippable frame", Encoding::Zstd, [skippable, zstd(&text)].concat(), 1),
        ("not compressed", Encoding::Identity, text.clone(), 1),
    ];
    for (name, encoding, body, times) in rows {
        let want = text.repeat(times);
        assert_eq!(undo(encoding, &body, want.len()), Ok(want.clone().into()), "{name}");
        let small = undo(encoding, &body, want.len() - 1);
        assert!(matches!(small, Err(Undone::TooLarge(_))), "{name}: {small:?}");
    }
}

#[test]
fn what_is_not_a_whole_sound_stream_is_refused() {
    let text = b"readings ".repeat(1_000);
    let cut = |all: Vec<u8>| all[..all.len() - 1].to_vec();
    let flip = |mut all: Vec<u8>| {
        let at = all.len() - 5;
        all[at] ^= 1;
        all
    };
    let tail = |all: Vec<u8>| [all, b"xyz".to_vec()].concat();
    let rows = [
        ("nothing", Encoding::Gzip, vec![]),
        ("plain text", Encoding::Gzip, text.clone()),
        ("zstd in the name of gzip", Encoding::Gzip, zstd(&text)),
        ("a member that breaks off", Encoding::Gzip, cut(gzip(&text))),
        ("half a member", Encoding::Gzip, gzip(&text)[..30].to_vec()),
        ("a wrong checksum", Encoding::Gzip, flip(gzip(&text))),
        ("something behind it", Encoding::Gzip, tail(gzip(&text))),
        ("zeros behind it", Encoding::Gzip, [gzip(&text), vec![0; 20]].concat()),
        ("too many members", Encoding::Gzip, gzip(b"").repeat(PARTS_MAX + 1)),
        ("nothing", Encoding::Zstd, vec![]),
        ("plain text", Encoding::Zstd, text.clone()),
        ("a frame that breaks off", Encoding::Zstd, cut(zstd(&text))),
        ("a head that breaks off", Encoding::Zstd, zstd(&text)[..5].to_vec()),
        ("a wrong checksum", Encoding::Zstd, {
            let mut all = zstd(&text);
            *all.last_mut().unwrap() ^= 1;
            all
        }),
        ("something behind it", Encoding::Zstd, tail(zstd(&text))),
        ("too many frames", Encoding::Zstd, zstd(b"a").repeat(PARTS_MAX + 1)),
        ("another size than it says", Encoding::Zstd, zstd_by_hand(20, Some(7), &[(1, 9)])),
        ("a skippable frame that breaks off", Encoding::Zstd, {
            vec![0x50, 0x2A, 0x4D, 0x18, 255, 255, 255, 255, 1]
        }),
    ];
    for (name, encoding, body) in rows {
        match undo(encoding, &body, 1_000_000) {
            Err(Undone::Broken(v)) => {
                assert_eq!(v.field, "body", "{name}");
                assert!(v.got.starts_with("broken "), "{name}: {v}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_window_larger_than_the_limit_is_none_of_our_memory() {
    // 2 TiB of window, 11 bytes of content.
    let body = zstd_by_hand(41, None, &[(b'x', 11)]);
    assert_eq!(undo(Encoding::Zstd, &body, 100), Ok(Bytes::from_static(b"xxxxxxxxxxx")));
    // A frame that promises 4 GiB is not begun.
    let promised = undo(Encoding::Zstd, &zstd_by_hand(20, Some(u32::MAX), &[(1, 9)]), 1_000_000);
    assert!(matches!(promised, Err(Undone::TooLarge(_))), "{promised:?}");
}

#[test]
fn a_bomb_is_given_up_at_the_limit() {
    // 1 GiB of one byte, in 32 kB; the window says 8 MiB.
    let blocks = vec![(0, 128 * 1024); 8 * 1024];
    let got = undo(Encoding::Zstd, &zstd_by_hand(23, None, &blocks), 1_000_000);
    assert!(matches!(got, Err(Undone::TooLarge(_))), "{got:?}");
    let got = undo(Encoding::Gzip, &gzip(&vec![0; 20_000_000]), 1_000_000);
    let Err(Undone::TooLarge(v)) = got else { panic!("{got:?}") };
    assert_eq!(v.got, "more than 1000000 bytes, decompressed");
}

proptest! {
    #[test]
    fn what_was_compressed_comes_back(bytes in proptest::collection::vec(0u8..4, 0..9_000)) {
        for (encoding, body) in [(Encoding::Gzip, gzip(&bytes)), (Encoding::Zstd, zstd(&bytes))] {
            prop_assert_eq!(undo(encoding, &body, bytes.len()), Ok(Bytes::from(bytes.clone())));
        }
    }

    #[test]
    fn whatever_comes_it_ends_within_the_limit(
        mut body in proptest::collection::vec(any::<u8>(), 0..200),
        max in 0usize..1_000,
        begin in 0usize..3,
    ) {
        let heads: [&[u8]; 3] = [&[], &[0x1f, 0x8b, 8, 0], &[0x28, 0xB5, 0x2F, 0xFD]];
        body.splice(0..0, heads[begin].iter().copied());
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Identity] {
            if let Ok(out) = undo(encoding, &body, max) {
                prop_assert!(out.len() <= max);
            }
        }
    }
}
