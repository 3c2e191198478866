//! Bytes of a file, unpacked where they are gzip.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::DataError;

/// More than this is no data set that fits in memory; a damaged gzip file can claim any length.
const MOST: u64 = 16 << 30;

/// Where a path of a program leads.
pub fn locate(folder: &Path, written: &str) -> PathBuf {
    crate::source::normal(&folder.join(written))
}

/// The whole file; one that is empty is an error.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = crate::source::read_bytes(path).map_err(|error| DataError::io(path, &error))?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) { unpack(path, &bytes)? } else { bytes };
    if bytes.is_empty() {
        return Err(DataError::missing(path, "is empty").help("fetch or write it again"));
    }
    Ok(bytes)
}

pub fn unpack(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).take(MOST).read_to_end(&mut out).map_err(|error| {
        let cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
        let what = if cut { "ends in the middle of its gzip stream" } else { "has a damaged gzip stream" };
        DataError::corrupt(path, format_args!("{what}, {} bytes were read", out_len(&out))).help("fetch it again")
    })?;
    if out.len() as u64 == MOST {
        return Err(DataError::wrong_size(path, "unpacks to more than 16 GiB").help("cut it in parts"));
    }
    Ok(out)
}

fn out_len(out: &[u8]) -> String {
    super::fault::count(out.len())
}

/// `N` bytes at `at`, where there are that many.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
