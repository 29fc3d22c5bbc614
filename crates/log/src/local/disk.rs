//! The directory: one process at a time, and how much room its disk has.

use crate::port::LogError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const LOCK_FILE: &str = "heliograph.lock";

/// Held as long as the log is open. The system lets go of it when the process ends, however it
/// ends; what the file says is for the message alone.
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(super) fn acquire(dir: &Path) -> Result<Self, LogError> {
        let cannot = |e: io::Error| {
            LogError::Config(format!("log directory {}: cannot use it: {e}", dir.display()))
        };
        std::fs::create_dir_all(dir).map_err(cannot)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK_FILE))
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(dir, &mut file)),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(cannot)?;
        Ok(Self { _file: file })
    }
}

fn taken(dir: &Path, file: &mut File) -> LogError {
    let mut pid = String::new();
    let by = match file.read_to_string(&mut pid) {
        Ok(_) if pid.parse::<u32>().is_ok() => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    LogError::Locked(format!("log directory {}: {by} has it open", dir.display()))
}

/// Bytes that an ordinary user may still write on the disk of `dir`.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with a nul and outlives the call; `stat` has room for what it writes.
    #[allow(unsafe_code)]
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    #[allow(clippy::unnecessary_cast, reason = "the types differ between platforms")]
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

/// Makes names created or renamed in `dir` survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
